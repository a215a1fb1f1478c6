//! What a draining worker still holds, as the kernel sees it; the worker's own word does not count.
//!
//! Its connections are those in the kernel's table of TCP connections (sock_diag) whose socket is
//! open in one of its processes. The kernel tells the queues of each, and when bytes last went
//! either way. A connection is *idle* when both queues are empty, the worker spoke last, and it
//! has been quiet for `drain_idle`; every other one is *busy*. The kernel's times have the grain of
//! its tick, so a request that arrived within the same tick as the answer before it looks like
//! one that was answered; such a tie must be quiet twice as long. Between looks the byte counts
//! tell the order exactly.
//!
//! The kernel tells only that a connection to a unix socket exists, so it counts as busy until it
//! is closed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::base::on_stop::OnStop;
use crate::limits::WATCHED_CONNECTIONS;
use crate::primary::event::Look;
use crate::runtime::listeners::Listeners;
use crate::runtime::on_stop;
use crate::sys::diag::{Connection, TcpState};
use crate::sys::{diag, procfs, target};

/// What the probe remembers of a draining worker between two looks.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    /// Handshakes that were under way at the first look, by the client's and our address: they
    /// may still end up in the old socket's queue.
    handshakes: Option<BTreeSet<(SocketAddr, SocketAddr)>>,
    seen: BTreeMap<u64, Seen>,
    /// How those of its processes that hold connections handle the stop signal.
    on_stop: Option<OnStop>,
}

/// What the caller knows about a worker before a look at its connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// How many connections wait in its accept queues. The caller reads this first, so that a
    /// connection which leaves a queue meanwhile is found in the process.
    pub(crate) queued: u32,
    /// It was told to end its kept connections, and knows how to.
    pub(crate) ends_kept: bool,
    pub(crate) stop_signal: i32,
}

/// One connection at the last look.
#[derive(Debug, Clone, Copy)]
struct Seen {
    received: u64,
    sent: u64,
    last_word: LastWord,
}

/// Which side spoke last, as far as the looks have shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastWord {
    /// Nothing moved since the first look, or both sides spoke between two: the kernel's times
    /// decide.
    Unknown,
    Worker,
    Client,
}

/// The kernel's connections on some ports, read once for all looks of one turn.
#[derive(Debug)]
pub(crate) struct Table {
    connections: io::Result<Vec<Connection>>,
    /// The inodes of those of unix sockets.
    unix: io::Result<HashSet<u64>>,
}

impl Table {
    /// Reads it.
    pub(crate) fn read(listeners: &Listeners) -> Self {
        Self {
            connections: diag::connections(&listeners.ports()),
            unix: procfs::unix_connections(&listeners.paths()),
        }
    }

    /// All of them, where they can be seen.
    pub(crate) fn connections(&self) -> Option<&[Connection]> {
        self.connections.as_deref().ok()
    }

    /// How many connections the worker of process `pid` holds; `None`: it cannot be seen.
    pub(crate) fn held_by(&self, pid: u32) -> Option<u32> {
        let (connections, unix) = (self.connections.as_ref().ok()?, self.unix.as_ref().ok()?);
        if connections.is_empty() && unix.is_empty() {
            return Some(0);
        }
        let inodes = target::sockets_of(&target::descendants(pid)).ok()?;
        let held = connections.iter().filter(|c| inodes.contains(&c.inode)).count();
        Some(count(held + inodes.intersection(unix).count()))
    }
}

impl Drain {
    /// One look at a worker.
    pub(crate) fn look(
        &mut self,
        known: Known,
        processes: &[u32],
        table: &Table,
        idle: Duration,
    ) -> Look {
        let Known { queued, .. } = known;
        let blind = Look { queued, ..Look::default() };
        let Ok(inodes) = target::sockets_of(processes) else { return blind };
        let (Ok(connections), Ok(unix)) = (&table.connections, &table.unix) else { return blind };
        let mut look = Look { queued, visible: true, ..Look::default() };
        look.handshaking = self.handshakes_left(connections);
        let mut seen_now = BTreeMap::new();
        for connection in connections.iter().filter(|c| inodes.contains(&c.inode)) {
            let before = self.seen.get(&connection.inode);
            let now = Seen::after(before, connection);
            if is_idle(connection, now.last_word, idle) {
                look.idle += 1;
            } else {
                look.busy += 1;
            }
            if seen_now.len() < WATCHED_CONNECTIONS {
                seen_now.insert(connection.inode, now);
            }
        }
        self.seen = seen_now;
        look.busy += count(inodes.intersection(unix).count());
        if known.ends_kept {
            look.on_stop = OnStop::EndsKept;
        } else if look.busy > 0 {
            let of = || on_stop::of_holders(processes, connections, unix, known.stop_signal);
            look.on_stop = *self.on_stop.get_or_insert_with(of);
        }
        look
    }

    /// How many of the handshakes that were under way at the first look still are.
    fn handshakes_left(&mut self, connections: &[Connection]) -> u32 {
        let now: BTreeSet<_> = connections
            .iter()
            .filter(|c| c.state == TcpState::SynReceived)
            .map(|c| (c.remote, c.local))
            .collect();
        let left = match self.handshakes.take() {
            None => now,
            Some(before) => before.intersection(&now).copied().collect(),
        };
        let count = count(left.len());
        self.handshakes = Some(left);
        count
    }
}

impl Seen {
    fn after(before: Option<&Self>, connection: &Connection) -> Self {
        let (received, sent) = (connection.bytes_received, connection.bytes_sent);
        let last_word = before.map_or(LastWord::Unknown, |before| {
            match (received > before.received, sent > before.sent) {
                (true, false) => LastWord::Client,
                (false, true) => LastWord::Worker,
                (true, true) => LastWord::Unknown,
                (false, false) => before.last_word,
            }
        });
        Self { received, sent, last_word }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn is_idle(connection: &Connection, last_word: LastWord, idle: Duration) -> bool {
    if connection.receive_queue > 0 || connection.send_queue > 0 {
        return false;
    }
    let (sent, received) = (connection.last_sent_ms, connection.last_received_ms);
    let quiet_enough = match last_word {
        LastWord::Client => return false,
        LastWord::Worker => idle,
        LastWord::Unknown if received < sent => return false,
        LastWord::Unknown if received == sent => idle * 2,
        LastWord::Unknown => idle,
    };
    Duration::from_millis(sent.min(received).into()) >= quiet_enough
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(2);

    fn connection(received: (u64, u32), sent: (u64, u32)) -> Connection {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        Connection {
            local: nowhere,
            remote: nowhere,
            state: TcpState::Established,
            inode: 1,
            receive_queue: 0,
            send_queue: 0,
            last_sent_ms: sent.1,
            last_received_ms: received.1,
            bytes_received: received.0,
            bytes_sent: sent.0,
        }
    }

    #[test]
    fn answered_and_quiet_is_idle() {
        assert!(is_idle(&connection((10, 2500), (20, 2400)), LastWord::Unknown, IDLE));
        assert!(!is_idle(&connection((10, 1500), (20, 1400)), LastWord::Unknown, IDLE));
    }

    #[test]
    fn a_request_without_an_answer_is_busy_however_long_it_takes() {
        assert!(!is_idle(&connection((10, 60_000), (20, 60_100)), LastWord::Unknown, IDLE));
        assert!(!is_idle(&connection((10, 60_000), (20, 60_000)), LastWord::Client, IDLE));
    }

    #[test]
    fn a_tie_must_be_quiet_twice_as_long_unless_the_order_was_seen() {
        let tie = connection((10, 3000), (20, 3000));
        assert!(!is_idle(&tie, LastWord::Unknown, IDLE));
        assert!(is_idle(&tie, LastWord::Worker, IDLE));
        assert!(is_idle(&connection((10, 4000), (20, 4000)), LastWord::Unknown, IDLE));
    }

    #[test]
    fn bytes_in_a_queue_are_busy() {
        let unread = Connection { receive_queue: 1, ..connection((10, 9000), (20, 8000)) };
        assert!(!is_idle(&unread, LastWord::Worker, IDLE));
        let unsent = Connection { send_queue: 1, ..connection((10, 9000), (20, 8000)) };
        assert!(!is_idle(&unsent, LastWord::Worker, IDLE));
    }

    #[test]
    fn looks_tell_the_order() {
        let first = Seen::after(None, &connection((10, 0), (20, 0)));
        assert_eq!(first.last_word, LastWord::Unknown);
        let asked = Seen::after(Some(&first), &connection((15, 0), (20, 0)));
        assert_eq!(asked.last_word, LastWord::Client);
        let waits = Seen::after(Some(&asked), &connection((15, 9), (20, 9)));
        assert_eq!(waits.last_word, LastWord::Client);
        let answered = Seen::after(Some(&waits), &connection((15, 9), (40, 0)));
        assert_eq!(answered.last_word, LastWord::Worker);
    }
}
