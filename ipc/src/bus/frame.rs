//! Messages as bincode frames, for Rust. Only this module uses bincode, with limits.
//!
//! A frame is a header of 8 bytes and a body. The header is the magic byte 0xB5, the layout's
//! version, two zero bytes, and the body's length (u32, little endian). The body is the message in
//! bincode's standard layout. The decoder checks a length before it buffers anything, and counts a
//! collection's claimed size against [`MEMORY`] before it allocates anything.
//!
//! The decoder refuses another magic byte or layout, bodies beyond the limit, and bytes after the
//! message.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::error::EncodeError;
use bincode::{Decode, Encode};

use super::codec::DecodeError;
use super::{MAX_FRAME, Peer};

/// The first byte of every frame. No JSON text and no UTF-8 begins with it.
pub const MAGIC: u8 = 0xB5;
/// The layout of the header.
const LAYOUT: u8 = 1;
/// Length of the header in bytes.
pub const HEADER: usize = 8;
/// How much memory the parts of one message may need, in bytes. bincode counts before it allocates.
const MEMORY: usize = 2 * MAX_FRAME;

type Config = Configuration<LittleEndian, Varint, Limit<MEMORY>>;

/// bincode 2's standard layout with this limit.
const CONFIG: Config = bincode::config::standard().with_limit::<MEMORY>();

/// Facts about an enum of messages.
pub trait Known {
    /// How many variants this build knows. Later ones come from a newer build, and the decoder
    /// skips them.
    const COUNT: u8;
    /// The tag of the event variant.
    const EVENT: u8;
    /// Whether the supervisor sends these messages, so that their data was checked already.
    const BELIEVED: bool;
}

impl Known for super::FromWorker {
    const COUNT: u8 = 18;
    const EVENT: u8 = 3;
    const BELIEVED: bool = false;
}

impl Known for super::ToWorker {
    const COUNT: u8 = 14;
    const EVENT: u8 = 2;
    const BELIEVED: bool = true;
}

/// Appends one message as a frame.
pub fn write<T: Encode>(message: &T, to: &mut Vec<u8>) -> Result<(), DecodeError> {
    append(to, |to| bincode::encode_into_std_write(message, to, CONFIG).map(|_| ()))
}

/// Appends an event message: its tag, topic and data, and the sender.
pub(super) fn write_event<T: Known>(
    topic: &str,
    data: &str,
    from: &[u8],
    to: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    to.reserve(HEADER + 16 + topic.len() + data.len() + from.len());
    append(to, |to| {
        to.push(T::EVENT);
        bincode::encode_into_std_write((topic, data), to, CONFIG)?;
        to.extend_from_slice(from);
        Ok(())
    })
}

fn append(
    to: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), DecodeError> {
    let start = to.len();
    to.extend_from_slice(&[MAGIC, LAYOUT, 0, 0, 0, 0, 0, 0]);
    let written = body(to);
    let total = to.len() - start;
    let length = u32::try_from(total - HEADER).unwrap_or(u32::MAX);
    if let Err(error) = written {
        to.truncate(start);
        return Err(DecodeError::malformed(&error));
    }
    if total > MAX_FRAME {
        to.truncate(start);
        return Err(DecodeError::TooLong);
    }
    to[start + 4..start + HEADER].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// The body's length, from the bytes of a header. `None` means that more bytes are needed.
pub(super) fn body(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
    let expected = [MAGIC, LAYOUT, 0, 0];
    let seen = bytes.len().min(expected.len());
    if bytes[..seen] != expected[..seen] {
        return Err(DecodeError::Header);
    }
    let Some(length) = bytes.get(4..HEADER).and_then(|length| length.try_into().ok()) else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_FRAME - HEADER { Err(DecodeError::TooLong) } else { Ok(Some(length)) }
}

/// Decodes one body. `None` means a message that this build does not know.
pub(super) fn read<T: Decode<()> + Known>(body: &[u8]) -> Result<Option<T>, DecodeError> {
    // A tag below 251 takes one byte.
    if body.first().is_some_and(|tag| *tag >= T::COUNT) {
        return Ok(None);
    }
    let (message, used) =
        bincode::decode_from_slice(body, CONFIG).map_err(|error| DecodeError::malformed(&error))?;
    if used == body.len() { Ok(Some(message)) } else { Err(DecodeError::Trailing) }
}

/// The topic, the data and the sender of the event in a body, after its tag.
pub(super) fn event<T: Known>(body: &[u8]) -> Result<(&str, &str, &[u8]), DecodeError> {
    let parts = body.get(1..).unwrap_or_default();
    let ((topic, data), used) = bincode::borrow_decode_from_slice(parts, CONFIG)
        .map_err(|error| DecodeError::malformed(&error))?;
    let from = &parts[used..];
    // Only a subscriber is told who sent an event.
    if !T::BELIEVED && !from.is_empty() {
        return Err(DecodeError::Trailing);
    }
    Ok((topic, data, from))
}

/// The encoding of a peer in a body.
pub(super) fn peer(peer: &Peer) -> Option<Vec<u8>> {
    bincode::encode_to_vec(peer, CONFIG).ok()
}

/// Decodes a peer that [`peer`] encoded.
pub(super) fn read_peer(bytes: &[u8]) -> Result<Peer, DecodeError> {
    let (peer, used) = bincode::decode_from_slice(bytes, CONFIG)
        .map_err(|error| DecodeError::malformed(&error))?;
    if used == bytes.len() { Ok(peer) } else { Err(DecodeError::Trailing) }
}
