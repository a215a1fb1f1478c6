//! Messages within the shared table of descriptors: a pair of unix sockets that keeps the
//! boundaries between messages (SOCK_SEQPACKET).

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use rustix::net::{RecvFlags, SendFlags};

/// Two connected sockets: non-blocking, close-on-exec.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// Sends one message. `WouldBlock`: there is no room now.
pub(crate) fn send(socket: BorrowedFd<'_>, message: &[u8]) -> io::Result<()> {
    rustix::net::send(socket, message, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message, and returns its length; what does not fit `space` is lost. `WouldBlock`:
/// there is none now.
pub(crate) fn receive(socket: BorrowedFd<'_>, space: &mut [u8]) -> io::Result<usize> {
    let (length, _) = rustix::net::recv(socket, space, RecvFlags::DONTWAIT)?;
    Ok(length)
}
