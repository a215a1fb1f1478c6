//! A worker's channel: bytes over a unix stream socket, some of them with a descriptor.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::poll::poll;

/// The most descriptors that one read may bring. Node sends one at a time; more than fit are an
/// error.
const MOST_FDS: usize = 4;

/// The kernel takes a write of up to this many bytes whole or not at all: a unix stream socket cuts
/// a write into pieces of at least this size, and refuses only whole pieces (`unix_stream_sendmsg`:
/// half the send buffer, at most 32 KiB of pages and a head).
pub(crate) const WHOLE: usize = 32 << 10;

/// The result of one read.
#[derive(Debug)]
pub(crate) enum Received {
    /// This many bytes, and the descriptors that came with them.
    Some(usize, Vec<OwnedFd>),
    /// Nothing to read now.
    Nothing,
    /// The other end closed the channel.
    End,
}

/// Reads once. Descriptors are close-on-exec; a message whose descriptors did not all arrive is an
/// error.
pub(crate) fn receive(channel: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let message = match recvmsg(channel, &mut [IoSliceMut::new(bytes)], &mut control, flags) {
        Ok(message) => message,
        Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Nothing),
        Err(Errno::CONNRESET) => return Ok(Received::End),
        Err(error) => return Err(error.into()),
    };
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            fds.extend(received);
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other(
            "descriptors could not be taken: too many came, or too many files are open",
        ));
    }
    if message.bytes == 0 { Ok(Received::End) } else { Ok(Received::Some(message.bytes, fds)) }
}

/// Writes once; the descriptor goes with the first byte. `None`: there is no room now.
pub(crate) fn send(
    channel: BorrowedFd<'_>,
    bytes: &[u8],
    fd: Option<BorrowedFd<'_>>,
) -> io::Result<Option<usize>> {
    send_all(channel, &[IoSlice::new(bytes)], fd)
}

/// As `send`, with several pieces in one write.
pub(crate) fn send_all(
    channel: BorrowedFd<'_>,
    pieces: &[IoSlice<'_>],
    fd: Option<BorrowedFd<'_>>,
) -> io::Result<Option<usize>> {
    send_with(channel, pieces, fd.as_slice())
}

/// As `send_all`, with up to [`MOST_FDS`] descriptors.
pub(crate) fn send_with(
    channel: BorrowedFd<'_>,
    pieces: &[IoSlice<'_>],
    fds: &[BorrowedFd<'_>],
) -> io::Result<Option<usize>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("the descriptors do not fit their message"));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match sendmsg(channel, pieces, &mut control, flags) {
        Ok(count) => Ok(Some(count)),
        // Too many descriptors in flight passes like a full buffer (unix(7)).
        Err(Errno::AGAIN | Errno::INTR | Errno::TOOMANYREFS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Copies the whole lines that can be read now to the front of `bytes`, leaves them in the channel,
/// and returns their length. `None`: there is no whole line, or a descriptor comes with it; the
/// caller reads the channel instead.
pub(crate) fn whole_lines(channel: BorrowedFd<'_>, bytes: &mut [u8]) -> Option<usize> {
    let seen = peek(channel, bytes)?;
    let end = bytes[..seen].iter().rposition(|byte| *byte == b'\n')?;
    Some(end + 1)
}

/// Copies what can be read now, leaves it in the channel, and returns its length. `None`: there is
/// nothing, or a descriptor comes with it; the caller reads the channel instead.
pub(crate) fn peek(channel: BorrowedFd<'_>, bytes: &mut [u8]) -> Option<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT | RecvFlags::PEEK;
    let seen = recvmsg(channel, &mut [IoSliceMut::new(bytes)], &mut control, flags).ok()?.bytes;
    // This closes the copies of descriptors that came with it; the originals stay in the channel.
    (control.drain().count() == 0 && seen > 0).then_some(seen)
}

/// Reads and discards bytes that an earlier `peek` has seen.
pub(crate) fn skip(channel: BorrowedFd<'_>, mut looked_at: usize, space: &mut [u8]) {
    while looked_at > 0 {
        let most = looked_at.min(space.len());
        match receive(channel, &mut space[..most]) {
            Ok(Received::Some(count, _)) => looked_at -= count.min(looked_at),
            // They were there a moment ago, and nothing else reads them.
            Ok(Received::Nothing | Received::End) | Err(_) => break,
        }
    }
}

/// Whether a read would return now, also because the other end closed the channel.
pub(crate) fn readable(channel: BorrowedFd<'_>) -> bool {
    let mut sources = [PollFd::new(channel, PollFlags::POLLIN)];
    poll(&mut sources, Some(Duration::ZERO)).is_ok_and(|count| count > 0)
}

/// How many written bytes the other end has not read, by the kernel's count, which includes its
/// overhead for each message (SIOCOUTQ, unix(7)).
pub(crate) fn unread(channel: BorrowedFd<'_>) -> io::Result<u32> {
    let mut count: libc::c_int = 0;
    // SAFETY: the call writes one int to a live variable.
    let result = unsafe { libc::ioctl(channel.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(count.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Holds for any fill level of the channel, and after any read.
    #[test]
    fn so_much_is_written_whole_or_not_at_all() {
        let (here, there) = UnixStream::pair().unwrap();
        let bytes = vec![7; WHOLE];
        let mut read = vec![0; 3 * WHOLE];
        let (mut written, mut refused) = (0, 0);
        for round in 0..400 {
            let length = WHOLE - (round * 37) % 5000;
            match send(here.as_fd(), &bytes[..length], None).unwrap() {
                Some(count) => {
                    assert_eq!(count, length);
                    written += 1;
                }
                None => {
                    refused += 1;
                    let some = (round * 7919) % read.len() + 1;
                    receive(there.as_fd(), &mut read[..some]).unwrap();
                }
            }
        }
        assert!(written > 50 && refused > 50, "{written} written, {refused} refused");
    }
}
