//! Connections that a dead predecessor had accepted, found in the table of descriptors that it
//! shared with the keeper. No snapshot names them, because they come and go between two snapshots.
//!
//! Some of them belong to a worker by now, or are on the way to one in its channel. So the primary
//! leaves them alone until every worker has read all that the predecessor sent. From then on, a
//! worker that was given a connection holds it, and the primary closes its own copy. A connection
//! that no other process holds, and from which none has read or to which none has written, is
//! handed over as if it were new. One that no process holds any more but that was used has been
//! served to its end.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::in_flight::Arrival;
use crate::base::ids::{ListenerId, SocketId};
use crate::base::time::Time;
use crate::runtime::context::Context;
use crate::runtime::listeners::Listeners;
use crate::runtime::listeners::listener::Kind;
use crate::sys::held::Claims;
use crate::sys::pidfd::Pid;
use crate::sys::{holders, socket};

/// How long ago the workers must have read everything. By then, a descriptor that a worker received
/// last is visible among its open files.
const CALM: Duration = Duration::from_millis(20);
/// When the primary closes the connections because a worker still has unread messages, any of which
/// may carry one of them.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct ReclaimedConnections {
    all: Vec<(ListenerId, OwnedFd, SocketAddr)>,
    /// When the primary first checked them.
    since: Option<Time>,
    /// Since when the workers have read all that the predecessor sent.
    calm: Option<Time>,
}

impl ReclaimedConnections {
    /// Finds them in the table of descriptors. `abandoned`: slot sockets from which the predecessor
    /// accepted too.
    pub(in crate::runtime) fn find(
        claims: &mut Claims,
        listeners: &Listeners,
        abandoned: &[(ListenerId, SocketId)],
    ) -> std::io::Result<Self> {
        let accepts = |id: ListenerId, kind: &Kind| {
            matches!(kind, Kind::HandOver(_)) || abandoned.iter().any(|(of, _)| *of == id)
        };
        let accepting: Vec<(ListenerId, SocketAddr)> = listeners
            .iter()
            .filter(|open| accepts(open.id, &open.kind))
            .filter_map(|open| Some((open.id, open.tcp_address()?)))
            .collect();
        if accepting.is_empty() {
            return Ok(Self::default());
        }
        let found = claims.find(|fd| whose(fd, &accepting))?;
        let all = found.into_iter().map(|(fd, (id, peer))| (id, fd, peer)).collect();
        Ok(Self { all, ..Self::default() })
    }

    /// Decides about them, if that is possible by now. `unread`: some worker has not read all that
    /// the predecessor sent. Returns those that need a worker; `None`: it is too early to tell.
    pub(super) fn unclaimed(
        &mut self,
        at: &mut Context<'_>,
        keeper: Pid,
        now: Time,
        unread: bool,
    ) -> Option<Vec<(ListenerId, Arrival)>> {
        if self.all.is_empty() {
            return Some(Vec::new());
        }
        let since = *self.since.get_or_insert(now);
        // Until its exec a child has everything that we have.
        let unread = unread || at.children.values().any(|child| child.report.is_some());
        if unread && now.since(since) < PATIENCE {
            self.calm = None;
            return None;
        }
        if !unread && now.since(*self.calm.get_or_insert(now)) < CALM {
            return None;
        }
        let all = std::mem::take(&mut self.all);
        let held = if unread { None } else { held_by_others(at, keeper) };
        let Some(held) = held else {
            at.note(format!(
                "{} connections that the previous primary had accepted were closed: the supervisor \
                 cannot tell whether a worker has them",
                all.len()
            ));
            return Some(Vec::new());
        };
        let unclaimed = |(_, fd, _): &(ListenerId, OwnedFd, SocketAddr)| {
            socket::inode(fd.as_fd()).is_ok_and(|inode| !held.contains(&inode))
                && socket::is_untouched(fd.as_fd())
        };
        let all = all.into_iter().filter(unclaimed);
        Some(all.map(|(id, fd, peer)| (id, Arrival { fd, peer })).collect())
    }
}

/// The listener that this was accepted from, and its client.
fn whose(
    fd: BorrowedFd<'_>,
    accepting: &[(ListenerId, SocketAddr)],
) -> Option<(ListenerId, SocketAddr)> {
    let (local, peer) = socket::connection(fd)?;
    let (ip, port) = (local.ip().to_canonical(), local.port());
    let exactly = |at: &SocketAddr| at.port() == port && at.ip().to_canonical() == ip;
    let widely = |at: &SocketAddr| {
        at.port() == port && at.ip().is_unspecified() && (at.is_ipv6() || ip.is_ipv4())
    };
    let find = |wanted: &dyn Fn(&SocketAddr) -> bool| accepting.iter().find(|(_, at)| wanted(at));
    let (id, _) = find(&exactly).or_else(|| find(&widely))?;
    Some((*id, peer))
}

/// The inodes of the sockets that any process but us and the keeper has open. `None`: the open
/// files of some worker cannot be read.
fn held_by_others(at: &Context<'_>, keeper: Pid) -> Option<HashSet<u64>> {
    let workers = at.children.values().filter(|child| child.ended.is_none());
    let workers: Vec<u32> = workers.map(|child| child.pid.0).collect();
    holders::sockets_of_all_but(&[std::process::id(), keeper.0], &workers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_told_by_its_own_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let (accepted, peer) = listener.accept().unwrap();
        let other = SocketAddr::from(([127, 0, 0, 2], address.port()));
        let wide = SocketAddr::from(([0; 16], address.port()));
        let at = |addresses: &[SocketAddr]| {
            let all: Vec<_> =
                addresses.iter().enumerate().map(|(n, at)| (ListenerId(n as u32), *at)).collect();
            whose(accepted.as_fd(), &all).map(|(id, client)| (id.0, client))
        };
        assert_eq!(at(&[other, wide, address]), Some((2, peer)));
        assert_eq!(at(&[other, wide]), Some((1, peer)));
        assert_eq!(at(&[other]), None);
        let all = [(ListenerId(0), address)];
        assert_eq!(whose(listener.as_fd(), &all), None, "it is no connection");
        assert_eq!(whose(client.as_fd(), &all), None, "the other end");
    }

    #[test]
    fn untouched_is_what_nobody_has_read_or_written() {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        assert!(socket::is_untouched(accepted.as_fd()));
        client.write_all(b"hello").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        accepted.peek(&mut [0; 5]).unwrap();
        while !ended(&accepted) {}
        assert!(socket::is_untouched(accepted.as_fd()), "all was said, and nothing read");
        accepted.read_exact(&mut [0; 1]).unwrap();
        assert!(!socket::is_untouched(accepted.as_fd()));
    }

    /// Whether the other side's end has come.
    fn ended(stream: &std::net::TcpStream) -> bool {
        use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        epoll.add(stream, EpollEvent::new(EpollFlags::EPOLLRDHUP, 0)).unwrap();
        epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE).unwrap() > 0
    }
}
