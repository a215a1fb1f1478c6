//! One message: its bounds and its bytes.

use std::io;

use ipc::bus::FromWorker;
use ipc::bus::check::Unfit;
use ipc::bus::codec::Codec;

/// Checks a message against the bounds of the bus, because the supervisor cuts off a worker that
/// sends more.
pub(crate) fn check(message: &FromWorker) -> io::Result<()> {
    message.fits().map_err(invalid)
}

/// The bound that was broken, as the error of a function of the public interface.
pub(crate) fn invalid(error: Unfit) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

/// The message's frame.
pub(crate) fn frame(message: &FromWorker) -> io::Result<Vec<u8>> {
    let mut frame = Vec::with_capacity(128);
    Codec::Frames.write(message, &mut frame).map_err(io::Error::other)?;
    Ok(frame)
}

/// The longest beginning of a text that fits into a message.
pub(crate) fn truncated(mut text: String) -> String {
    let cut = text.floor_char_boundary(ipc::bus::MAX_TEXT);
    text.truncate(cut);
    text
}
