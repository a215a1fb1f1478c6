//! Shuts a SO_REUSEPORT group for new connections, with no privilege.
//!
//! A trap is one more socket of the group whose accept queue is full: the kernel drops the first
//! packet of whoever is steered to it, as if the network had lost it. The group's other sockets
//! keep what they have, handshakes under way included. The other side tries again after a second;
//! it is let in if the group is steered elsewhere by then, refused if the group is closed.
//!
//! Refuses to be more than that: one stranger may come between the steering and our own connection
//! that fills the queue. It sits in the trap then, and is reset when the trap goes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::reuseport::attach;
use super::socket::{accept_queue, further_tcp, listen};
use super::steering_code::{Steering, compile};

/// The full socket. Dropped, it leaves the group: the indices of the others are what they were, as
/// long as it was the last to listen.
#[derive(Debug)]
pub(crate) struct Trap {
    socket: OwnedFd,
    /// Our connection that fills the queue.
    filler: OwnedFd,
}

impl Trap {
    /// Steer the group of this listening socket into a new trap. `index`: how many sockets of the
    /// group listen already, which is the index the trap gets.
    pub(crate) fn set(member: BorrowedFd<'_>, index: u32) -> io::Result<Self> {
        let address = SocketAddr::try_from(rustix::net::getsockname(member)?)?;
        let v6only = address.is_ipv6().then(|| sockopt::ipv6_v6only(member)).transpose()?;
        let socket = further_tcp(address, v6only)?;
        // A queue for 0 holds one.
        listen(socket.as_fd(), 0)?;
        attach(member, &compile(Steering::Even(&[index])))?;
        let filler = connect(near(address))?;
        if accept_queue(socket.as_fd())?.waiting == 0 {
            // A packet filter of the machine may be in the way, or the index is wrong.
            return Err(io::Error::other(format!("cannot reach {address} to close it")));
        }
        Ok(Self { socket, filler })
    }

    /// Both sockets, for `from_fds`.
    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.socket.as_fd(), self.filler.as_fd()]
    }

    /// One that was set by somebody else.
    pub(crate) fn from_fds([socket, filler]: [OwnedFd; 2]) -> Self {
        Self { socket, filler }
    }
}

impl AsFd for Trap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Where to reach a socket with this address from here.
fn near(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// A connection within this machine is complete when `connect` returns, even without waiting.
fn connect(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &address) {
        Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        result => result.map(|()| socket).map_err(io::Error::from),
    }
}
