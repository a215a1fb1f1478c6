//! Connections that a dead predecessor had accepted, found in the table of descriptors that it
//! shared with the keeper. No state names them: they come and go between two writings of it.
//!
//! Some of them are a worker's by now, or on the way to one in its channel. So nothing is done with
//! them until every worker has read all that the predecessor sent. Then whoever was given one holds
//! it, and our copy is closed; one that nobody holds, and that nobody has read from or written to,
//! is handed over as if it had come just now. What nobody holds and somebody has touched was served
//! to its end.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::{Arrival, HandOver};
use crate::base::ids::{ListenerId, SocketId};
use crate::base::time::Time;
use crate::runtime::context::Context;
use crate::runtime::listeners::Listeners;
use crate::runtime::listeners::listener::Kind;
use crate::sys::held::Claims;
use crate::sys::pidfd::Pid;
use crate::sys::{holders, socket};

/// How long the workers must have read everything: a descriptor that one has just read is then
/// among those that it is seen to have.
const CALM: Duration = Duration::from_millis(20);
/// A worker that reads nothing may have been sent any of them. After so long they are closed.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct ReclaimedConnections {
    all: Vec<(ListenerId, OwnedFd, SocketAddr)>,
    /// When they were first looked after.
    since: Option<Time>,
    /// Since when nothing that the predecessor sent is unread.
    calm: Option<Time>,
}

impl ReclaimedConnections {
    /// Those that are in the table. `abandoned`: sockets that the predecessor accepted from as well.
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

impl HandOver {
    /// Looks whether it can be told by now whose they are. `unread`: some worker has not read all
    /// that the predecessor sent. Whether some are left.
    pub(in crate::runtime) fn look_after_reclaimed(
        &mut self,
        at: &mut Context<'_>,
        keeper: Pid,
        now: Time,
        unread: bool,
    ) -> bool {
        if self.reclaimed.all.is_empty() {
            return false;
        }
        let since = *self.reclaimed.since.get_or_insert(now);
        // Until its exec a child has everything that we have.
        let unread = unread || at.children.values().any(|child| child.report.is_some());
        if unread && now.since(since) < PATIENCE {
            self.reclaimed.calm = None;
            return true;
        }
        if !unread && now.since(*self.reclaimed.calm.get_or_insert(now)) < CALM {
            return true;
        }
        let all = std::mem::take(&mut self.reclaimed.all);
        let held = if unread { None } else { held_by_others(at, keeper) };
        let Some(held) = held else {
            at.note(format!(
                "{} connections that the primary before had accepted were closed: it cannot be told whether a worker has them",
                all.len()
            ));
            return false;
        };
        for (id, fd, peer) in all {
            let nobodys = socket::inode(fd.as_fd()).is_ok_and(|inode| !held.contains(&inode));
            if nobodys && socket::is_untouched(fd.as_fd()) {
                self.hand_over_reclaimed(at, id, Arrival { fd, peer });
            }
        }
        false
    }

    fn hand_over_reclaimed(&mut self, at: &mut Context<'_>, id: ListenerId, arrival: Arrival) {
        // It may have waited for its PROXY header.
        let _ = socket::wake_at(arrival.fd.as_fd(), 1);
        let arrival = match at.spec.proxy_protocol {
            true => self.proxied.see_client(at, id, arrival),
            false => Some(arrival),
        };
        if let Some(arrival) = arrival {
            self.hand_over(at, id, arrival);
        }
    }
}

/// The sockets that any process but us and the keeper has open; `None`: that of a worker cannot be
/// seen.
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
        let mut fd = [rustix::event::PollFd::new(stream, rustix::event::PollFlags::RDHUP)];
        rustix::event::poll(&mut fd, None).unwrap() > 0
    }
}
