//! Whether a ready worker takes the connections that wait for it.
//!
//! How many wait is exact: the accept queues of its sockets, or what was handed to it. That it
//! took one is seen by a count where there is one (the steering program's, or that of hand-overs),
//! else by a shorter queue; and by a connection or by bytes that its processes did not have
//! before. How long one has waited is seen in the kernel's list of connections that no process
//! has: which socket's queue such a connection is in the kernel does not say, so it may be that of
//! another worker of the same listener; the worker itself must stand still as well to be hung.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::drain::Table;
use crate::base::time::Time;
use crate::limits::WATCHED_CONNECTIONS;
use crate::primary::event::Gauge;
use crate::sys::diag::{Connection, TcpState};
use crate::sys::target;

/// What is remembered of a worker between two gauges.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    mark: Option<Mark>,
    /// Connections that nobody has accepted, by the client's and our address, and when they were
    /// first seen.
    unaccepted: BTreeMap<(SocketAddr, SocketAddr), Time>,
}

/// Where it stood at the last gauge.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    waiting: u32,
    /// Connections that it has taken, where they are counted.
    taken: Option<u64>,
    inodes: BTreeSet<u64>,
    /// All that went out on its connections.
    bytes: u64,
}

impl Progress {
    /// What is seen now, compared with the gauge before.
    pub(super) fn gauge(
        &mut self,
        pid: u32,
        (waiting, taken): (u32, Option<u64>),
        table: &Table,
        ports: &BTreeSet<u16>,
        now: Time,
    ) -> Gauge {
        let unknown = Gauge { waiting, moved: true, oldest: Duration::ZERO };
        let Ok(inodes) = target::sockets_of(&target::descendants(pid)) else { return unknown };
        let Some(connections) = table.connections() else { return unknown };
        let oldest = self.oldest(connections, ports, now);
        let its = || connections.iter().filter(|c| inodes.contains(&c.inode));
        let inodes = its().map(|c| c.inode).take(WATCHED_CONNECTIONS).collect();
        let bytes = its().fold(0, |sum: u64, c| sum.wrapping_add(c.bytes_sent));
        let mark = Mark { waiting, taken, inodes, bytes };
        let moved = self.mark.as_ref().is_none_or(|before| mark.is_beyond(before));
        self.mark = Some(mark);
        Gauge { waiting, moved, oldest }
    }

    /// How long one of the connections that nobody has accepted has been seen.
    fn oldest(&mut self, all: &[Connection], ports: &BTreeSet<u16>, now: Time) -> Duration {
        // A client that gave up meanwhile is still in the queue. What was accepted and closed has
        // other states.
        let waits = |c: &&Connection| {
            c.inode == 0
                && matches!(c.state, TcpState::Established | TcpState::CloseWait)
                && ports.contains(&c.local.port())
        };
        let before = std::mem::take(&mut self.unaccepted);
        self.unaccepted = all
            .iter()
            .filter(waits)
            .take(WATCHED_CONNECTIONS)
            .map(|c| ((c.remote, c.local), *before.get(&(c.remote, c.local)).unwrap_or(&now)))
            .collect();
        let first = self.unaccepted.values().min();
        first.map_or(Duration::ZERO, |since| now.since(*since))
    }
}

impl Mark {
    fn is_beyond(&self, before: &Self) -> bool {
        let took = match (self.taken, before.taken) {
            (Some(now), Some(before)) => now != before,
            _ => self.waiting < before.waiting,
        };
        took || self.bytes != before.bytes || !self.inodes.is_subset(&before.inodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(waiting: u32, taken: Option<u64>, inodes: &[u64], bytes: u64) -> Mark {
        Mark { waiting, taken, inodes: inodes.iter().copied().collect(), bytes }
    }

    #[test]
    fn a_longer_queue_and_closed_connections_are_no_progress() {
        let before = mark(2, None, &[7, 8], 100);
        assert!(!mark(9, None, &[7, 8], 100).is_beyond(&before));
        assert!(!mark(2, None, &[], 100).is_beyond(&before));
    }

    #[test]
    fn whatever_was_taken_or_sent_is_progress() {
        let before = mark(2, None, &[7], 100);
        assert!(mark(1, None, &[7], 100).is_beyond(&before));
        assert!(mark(2, None, &[7, 9], 100).is_beyond(&before));
        assert!(mark(2, None, &[7], 101).is_beyond(&before));
    }

    #[test]
    fn where_it_is_counted_the_count_decides_and_not_the_queue() {
        let before = mark(64, Some(10), &[], 0);
        assert!(mark(64, Some(11), &[], 0).is_beyond(&before));
        // Taken back from it, to be given to others.
        assert!(!mark(3, Some(10), &[], 0).is_beyond(&before));
    }
}
