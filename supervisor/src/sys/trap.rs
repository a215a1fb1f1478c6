//! Closes a SO_REUSEPORT group to new connections, without a privilege.
//!
//! A trap is one more socket of the group whose accept queue is full. The kernel drops the first
//! packet of each connection that is steered to it, as if the network had lost it. The group's
//! other sockets keep what they have, handshakes under way included. The client tries again after a
//! second; it gets in if the group is steered elsewhere by then, and is refused if the group is
//! closed.
//!
//! One limit: one stranger's connection may arrive between the steering and the connection that
//! fills the queue. It then waits in the trap, and is reset when the trap is dropped.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{getsockopt, sockopt};
use socket2::{Domain, Socket, Type};

use super::reuseport::attach;
use super::socket::{accept_queue, further_tcp, listen, local_address};
use super::steering_code::{Steering, compile};

/// The full socket. When it is dropped it leaves the group; the indices of the others do not change
/// if it was the last to listen.
#[derive(Debug)]
pub(crate) struct Trap {
    socket: OwnedFd,
    /// The supervisor's own connection that fills the queue.
    filler: OwnedFd,
}

impl Trap {
    /// Steers the group of this listening socket into a new trap. `index`: how many sockets of the
    /// group listen already, which becomes the trap's index.
    pub(crate) fn set(member: BorrowedFd<'_>, index: u32) -> io::Result<Self> {
        let address = local_address(member)?;
        let v6only =
            address.is_ipv6().then(|| getsockopt(&member, sockopt::Ipv6V6Only)).transpose()?;
        let socket = further_tcp(address, v6only)?;
        // A backlog of 0 holds one connection.
        listen(socket.as_fd(), 0)?;
        attach(member, &compile(Steering::Even(&[index])))?;
        let filler = connect(near(address))?;
        if accept_queue(socket.as_fd())?.waiting == 0 {
            // A packet filter of the machine may be in the way, or the index is wrong.
            return Err(io::Error::other(format!("cannot reach {address} to close it")));
        }
        Ok(Self { socket, filler })
    }

    /// Both sockets, to pass to `from_fds`.
    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.socket.as_fd(), self.filler.as_fd()]
    }

    /// A trap that an earlier primary set.
    pub(crate) fn from_fds([socket, filler]: [OwnedFd; 2]) -> Self {
        Self { socket, filler }
    }
}

impl AsFd for Trap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The address at which this machine reaches a socket with the given address.
fn near(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// A connection within this machine is established when `connect` returns, even without waiting.
fn connect(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}
