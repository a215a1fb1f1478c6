//! Reads and writes on a Unix socket with descriptors beside the bytes (SCM_RIGHTS).

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The most descriptors that one read accepts. The supervisor sends one at a time.
const MAX_RECEIVED: usize = 4;

/// Reads once. Returns the number of bytes, and the descriptors that came with them. `None` stands
/// for a descriptor that the kernel could not deliver because this process has no free number.
pub(crate) fn receive(
    stream: &UnixStream,
    bytes: &mut [u8],
    flags: RecvFlags,
) -> io::Result<(usize, Vec<Option<OwnedFd>>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_RECEIVED))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [IoSliceMut::new(bytes)];
    let message = recvmsg(stream, &mut buffers, &mut control, flags | RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            fds.extend(received.map(Some));
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) {
        // Else the message of this one would take the descriptor of the next.
        fds.push(None);
    }
    Ok((message.bytes, fds))
}

/// Writes once, with the descriptor beside the first byte. Returns the number of bytes written.
pub(crate) fn send(stream: &UnixStream, bytes: &[u8], fd: BorrowedFd<'_>) -> io::Result<usize> {
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("the descriptor does not fit its message"));
    }
    loop {
        match sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Err(ErrorKind::TimedOut.into()),
            sent => return Ok(sent?),
        }
    }
}
