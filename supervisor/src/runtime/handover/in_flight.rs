//! Connections that were sent to a worker and that the worker has not acknowledged yet.
//!
//! The worker's link keeps our copy of each until then. This file knows where each came from, so
//! that one that comes back can go to another worker.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use crate::base::ids::{HandOffId, ListenerId, WorkerId};
use crate::policy::throttle::Throttle;
use crate::protocol::node::{Refusal, Refused};
use crate::runtime::context::Context;
use crate::runtime::node::channel;
use crate::sys::clock;

/// A connection that needs a worker.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) fd: OwnedFd,
    /// Its client.
    pub(super) peer: SocketAddr,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    /// Which workers get no connections now, and when the primary tries again to accept.
    pub(super) throttle: Throttle,
    /// The listener and the client of each connection.
    sent: BTreeMap<HandOffId, (ListenerId, SocketAddr)>,
    /// The number of the next connection.
    next: u64,
}

impl InFlight {
    /// None yet. `next`: the first number that no predecessor has given to a connection.
    pub(super) fn numbered_from(next: u64) -> Self {
        Self { next, ..Self::default() }
    }

    /// The number of the next connection, which the snapshot keeps.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Sends a connection of `listener` to the server of a worker that has this key. If the
    /// worker's link refuses it, nothing has happened, and the connection comes back with the
    /// reason.
    pub(super) fn send(
        &mut self,
        at: &mut Context<'_>,
        (worker, key): (WorkerId, &str),
        listener: ListenerId,
        arrival: Arrival,
    ) -> Result<(), (Refusal, Arrival)> {
        let Arrival { fd, peer } = arrival;
        let id = HandOffId(self.next);
        let Some(node) = at.node(worker) else {
            return Err((Refusal::NotServing, Arrival { fd, peer }));
        };
        if let Err(Refused { why, fd }) = node.link.newconn(id, key, fd) {
            return Err((why, Arrival { fd, peer }));
        }
        self.next += 1;
        self.sent.insert(id, (listener, peer));
        self.throttle.gave(clock::now(), id, worker);
        channel::write(at, worker);
        Ok(())
    }

    /// A worker took this connection, or gave it back. Returns its listener and its client.
    pub(super) fn settle(&mut self, id: HandOffId) -> Option<(ListenerId, SocketAddr)> {
        self.throttle.settled(id);
        self.sent.remove(&id)
    }
}
