//! The primary engine: the primary accepts, picks a worker, and hands the connection over.
//!
//! The worker's link keeps our copy of a connection until the worker has acknowledged it. A
//! connection that a worker refused, or had not taken when it died, goes to another worker unless
//! it was used already. Connections that no worker can take now wait here. Their number is bounded:
//! meanwhile the primary accepts no more, and the rest wait in the kernel's queue. Clients of one
//! slot (`sticky`) do not delay those of another.
//!
//! `policy::throttle` says which workers get no connections now, and when the primary tries again
//! to accept.

pub(super) mod abandoned_sockets;
mod in_flight;
pub(super) mod pick;
pub(super) mod proxy_header;
pub(super) mod reclaimed_connections;
pub(super) mod rendezvous;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use config::spec::Balance;

use self::abandoned_sockets::AbandonedSockets;
use self::in_flight::{Arrival, InFlight};
use self::pick::{Candidate, pick};
use self::proxy_header::ProxyHeaders;
use self::reclaimed_connections::ReclaimedConnections;
use super::context::{Context, Place};
use super::listeners::listener::Listener;
use super::node::channel;
use super::probe::drain::Table;
use super::source::Source;
use super::workers::Child;
use crate::base::ids::{HandOffId, ListenerId, SocketId, WorkerId};
use crate::base::time::Time;
use crate::limits::ACCEPTS_PER_TURN;
use crate::policy::throttle::{SLOW_TO_TAKE, Throttle, has_room};
use crate::protocol::node::{Refusal, TakenBack};
use crate::sys::pidfd::Pid;
use crate::sys::{clock, socket};

/// How often the primary asks the kernel how many connections each worker holds.
const COUNT_HELD: Duration = Duration::from_millis(100);
/// How long acknowledgements may wait until they are read.
const ANSWERS: Duration = Duration::from_millis(1);
/// The primary reads the channel of a worker at once if the worker has not acknowledged this many
/// connections.
const ANSWERS_AT_ONCE: usize = 24;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct HandOver {
    /// Connections that workers have not acknowledged yet.
    in_flight: InFlight,
    /// Connections that wait for their PROXY header.
    proxied: ProxyHeaders,
    /// Slot sockets from which no process accepts although their worker lives.
    pub(super) abandoned: AbandonedSockets,
    /// Connections that a predecessor had accepted.
    reclaimed: ReclaimedConnections,
    /// When the primary last asked the kernel how many connections each worker holds.
    held_counted: Option<Time>,
    /// When the primary reads the channels of workers that acknowledge many connections.
    answers_due: Option<Time>,
}

impl HandOver {
    /// The state of a primary that continues where another ended. `next`: the first number that
    /// no predecessor has given to a connection.
    pub(super) fn resumed(
        next: u64,
        abandoned: AbandonedSockets,
        reclaimed: ReclaimedConnections,
    ) -> Self {
        let in_flight = InFlight::numbered_from(next);
        Self { in_flight, abandoned, reclaimed, ..Self::default() }
    }

    /// The number of the next connection, which the snapshot keeps.
    pub(super) fn next(&self) -> u64 {
        self.in_flight.next()
    }

    /// Which workers get no connections now, and when the primary tries again to accept.
    pub(super) fn throttle(&mut self) -> &mut Throttle {
        &mut self.in_flight.throttle
    }

    /// Connections wait at a hand-over listener.
    pub(super) fn take_arrivals(&mut self, at: &mut Context<'_>, id: ListenerId) {
        let looks = at.spec.proxy_protocol;
        for _ in 0..ACCEPTS_PER_TURN {
            if looks && self.proxied.is_full() {
                return pause(at, id);
            }
            let Some(fd) = at.listeners.get(id).and_then(|open| open.accepting()) else { return };
            match socket::accept(fd) {
                Ok(Some((fd, peer))) => {
                    let arrival = Arrival { fd, peer };
                    if let Some(socket) = at.listeners.get(id).and_then(|open| open.probed(peer)) {
                        self.pass_probe(at, (id, socket), arrival);
                        continue;
                    }
                    let arrival = match looks {
                        true => self.proxied.see_client(at, id, arrival),
                        false => Some(arrival),
                    };
                    let waits = arrival.is_some_and(|arrival| !self.hand_over(at, id, arrival));
                    if waits && !may_accept(at, id) {
                        return pause(at, id);
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    at.note(format!("cannot accept connections: {error}; trying again"));
                    pause(at, id);
                    return self.in_flight.throttle.out_of_descriptors(clock::now());
                }
            }
        }
    }

    /// Sends the connection of a probe to the worker that is probed. If it cannot have it, the
    /// probe sees that the connection is closed.
    fn pass_probe(&mut self, at: &mut Context<'_>, place: Place, arrival: Arrival) {
        let lives = |child: &&Child| child.ended.is_none() && child.lent.contains_key(&place);
        let Some(worker) = at.children.values().find(lives).map(|child| child.id) else { return };
        let Some(node) = at.node(worker) else { return };
        let Some(key) = node.key_of(place).map(str::to_owned) else { return };
        // A refusal gives it back, and it is closed here.
        let _ = self.in_flight.send(at, (worker, &key), place.0, arrival);
    }

    /// Sends a connection to a worker. Returns false if no worker can take it now; it then waits.
    fn hand_over(&mut self, at: &mut Context<'_>, id: ListenerId, arrival: Arrival) -> bool {
        if at.listeners.get(id).is_some_and(|open| open.hand_over().is_none()) {
            // The kernel placed it once, and its worker closed the server.
            self.abandoned.take_homeless(id, arrival);
            self.in_flight.throttle.again_soon(clock::now());
            return false;
        }
        self.count_held(at, id);
        let mut tried = BTreeSet::new();
        let mut arrival = arrival;
        while let Some((worker, socket)) = self.choose(at, id, arrival.peer, &tried) {
            let Some(node) = at.node(worker) else { break };
            let Some(key) = node.key_of((id, socket)).map(str::to_owned) else { break };
            match self.in_flight.send(at, (worker, &key), id, arrival) {
                Ok(()) => {
                    if at.node(worker).is_some_and(|node| node.link.pending() >= 2) {
                        self.read_answers_later(at, worker, clock::now());
                    }
                    return true;
                }
                Err((why, refused)) => {
                    if why == Refusal::Full {
                        at.note("a worker takes connections more slowly than they come".into());
                    }
                    tried.insert(worker);
                    arrival = refused;
                }
            }
        }
        if let Some(state) = at.listeners.get_mut(id).and_then(|open| open.hand_over_mut()) {
            state.waiting.push_back((arrival.fd, arrival.peer));
        }
        self.in_flight.throttle.nobody_takes(clock::now());
        false
    }

    /// Asks the kernel how many connections each worker holds, if the balance depends on that. It
    /// does not ask for every connection: in between, it counts those that it hands over.
    fn count_held(&mut self, at: &mut Context<'_>, id: ListenerId) {
        let now = clock::now();
        let decides = |open: &Listener| open.balance == Balance::LeastConnections;
        let stale = self.held_counted.is_none_or(|at| now.since(at) >= COUNT_HELD);
        if !stale || !at.listeners.get(id).is_some_and(decides) {
            return;
        }
        self.held_counted = Some(now);
        let table = Table::read(at.listeners);
        let lives = |child: &&Child| child.ended.is_none();
        let news = |(child, held): (&Child, u32)| (held != child.held).then_some((child.id, held));
        let held = |child: &Child| news((child, table.held_by(child.pid.0)?));
        let all = at.children.values().filter(lives).filter_map(held);
        for (worker, held) in all.collect::<Vec<_>>() {
            if let Some(child) = at.children.get_mut(&worker) {
                child.held = held;
            }
        }
    }

    /// Picks among the workers that are steered to and take connections.
    fn choose(
        &self,
        at: &mut Context<'_>,
        id: ListenerId,
        peer: SocketAddr,
        tried: &BTreeSet<WorkerId>,
    ) -> Option<(WorkerId, SocketId)> {
        let listener = at.listeners.get(id)?;
        let now = clock::now();
        let mut places = Vec::with_capacity(listener.targets.len());
        let mut candidates = Vec::with_capacity(listener.targets.len());
        for target in &listener.targets {
            let place = (id, target.socket);
            let lives = |child: &&Child| child.ended.is_none() && child.lent.contains_key(&place);
            let child = at.children.values().find(lives);
            let (held, full) = match child.map(|child| (child, child.node())) {
                Some((child, Some(node))) => {
                    let takes = node.key_of(place).is_some_and(|key| node.link.takes(key));
                    if !takes || tried.contains(&child.id) {
                        continue;
                    }
                    let pending = node.link.pending();
                    let full = self.in_flight.throttle.is_full(now, child.id, pending);
                    (child.held + u32::try_from(pending).unwrap_or(u32::MAX), full)
                }
                // Its clients wait for the next worker of this slot.
                None if listener.balance == Balance::Sticky => (0, true),
                Some((_, None)) | None => continue,
            };
            places.push((child.map(|child| child.id), target.socket));
            candidates.push(Candidate { slot: target.slot.0, held, full });
        }
        let (balance, seed) = (listener.balance, listener.seed);
        let state = at.listeners.get_mut(id)?.hand_over_mut()?;
        let (worker, socket) = places[pick(balance, &candidates, &mut state.turn, seed, peer)?];
        Some((worker?, socket))
    }

    /// A worker may be able to take connections again. Those that wait here go first.
    pub(super) fn resume(&mut self, at: &mut Context<'_>, id: ListenerId) {
        self.abandoned.resume(at, &mut self.in_flight, id);
        let Some(open) = at.listeners.get(id) else { return };
        let sticky = open.balance == Balance::Sticky;
        for _ in 0..open.hand_over().map_or(0, |state| state.waiting.len()) {
            let state = at.listeners.get_mut(id).and_then(|open| open.hand_over_mut());
            let next = state.and_then(|state| state.waiting.pop_front());
            let Some((fd, peer)) = next else { return };
            // If no worker takes it, it goes to the back of the queue: it loses its turn once, and
            // none is lost.
            if !self.hand_over(at, id, Arrival { fd, peer }) && !sticky {
                return;
            }
        }
        watch(at, id);
    }

    /// Does the same for every listener.
    pub(super) fn resume_all(&mut self, at: &mut Context<'_>) {
        at.listener_ids().into_iter().for_each(|id| self.resume(at, id));
    }

    /// A worker took a connection.
    pub(super) fn done(&mut self, at: &mut Context<'_>, worker: WorkerId, id: HandOffId) {
        let Some((listener, _)) = self.in_flight.settle(id) else { return };
        let open = at.listeners.get_mut(listener);
        // A connection that the kernel had placed first is counted with its slot socket.
        if let Some(state) = open.and_then(Listener::hand_over_mut)
            && let Some(child) = at.children.get_mut(&worker)
        {
            child.accepted += 1;
            child.held += 1;
            *state.given.entry(child.slot.0).or_default() += 1;
        }
        self.resume(at, listener);
    }

    /// A worker gave a connection back, and has not read from it.
    pub(super) fn refused(
        &mut self,
        at: &mut Context<'_>,
        worker: WorkerId,
        id: HandOffId,
        fd: OwnedFd,
    ) {
        let Some((listener, peer)) = self.in_flight.settle(id) else { return };
        self.in_flight.throttle.refused(clock::now(), worker);
        if is_probe(at, listener, peer) {
            return;
        }
        self.hand_over(at, listener, Arrival { fd, peer });
    }

    /// Connections that a worker had not taken when it, or its channel, ended.
    pub(super) fn take_back(&mut self, at: &mut Context<'_>, back: Vec<TakenBack>) {
        for TakenBack { id, fd, arrived } in back {
            let Some((listener, peer)) = self.in_flight.settle(id) else { continue };
            // A worker that received it may have read from it without an acknowledgement.
            if is_probe(at, listener, peer) {
                continue;
            }
            if !arrived || socket::is_untouched(fd.as_fd()) {
                self.hand_over(at, listener, Arrival { fd, peer });
            }
        }
    }

    /// A worker that gets connections in quick succession acknowledges each by two lines. The
    /// primary reads them in batches, because a wake-up for each line would cost more than the line
    /// is worth.
    fn read_answers_later(&mut self, at: &mut Context<'_>, worker: WorkerId, now: Time) {
        let Some(node) = at.node(worker) else { return };
        let many = node.link.pending() >= ANSWERS_AT_ONCE;
        if !std::mem::replace(&mut node.read_later, true) {
            channel::watch(at, worker);
        }
        let due = if many { now } else { now + ANSWERS };
        self.answers_due = Some(self.answers_due.map_or(due, |other| other.min(due)));
    }

    /// Whether it is time to read the acknowledgements that were left for later.
    pub(super) fn takes_answers(&mut self, now: Time) -> bool {
        self.answers_due.take_if(|due| *due <= now).is_some()
    }

    /// Some workers still have connections to acknowledge.
    pub(super) fn awaits_answers(&mut self, now: Time) {
        self.answers_due = Some(now + ANSWERS);
    }

    /// When a connection, a worker or an acknowledgement is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        let all = [self.in_flight.throttle.deadline(), self.answers_due, self.proxied.deadline()];
        all.into_iter().flatten().min()
    }

    /// Warns about workers that have stopped taking connections. Connections that were not yet
    /// written to their channels go to other workers.
    pub(super) fn look_after_slow(&mut self, at: &mut Context<'_>, now: Time) {
        for worker in self.in_flight.throttle.slow(now) {
            let Some(child) = at.children.get_mut(&worker) else { continue };
            let (slot, pid) = (child.slot, child.pid.0);
            let Some(node) = child.node_mut() else { continue };
            let (pending, unsent) = (node.link.pending(), node.link.take_back_unsent());
            at.warn(format!(
                "slot {slot} (pid {pid}) has not taken connections for {}s: {pending} were handed to it, {} of them go to other workers",
                SLOW_TO_TAKE.as_secs(),
                unsent.len()
            ));
            self.take_back(at, unsent);
        }
    }

    /// A worker has closed this slot socket.
    pub(super) fn abandon(&mut self, at: &mut Context<'_>, place: Place) {
        self.abandoned.abandon(at, &mut self.in_flight, place);
    }

    /// Connections wait in an abandoned slot socket.
    pub(super) fn take_abandoned(&mut self, at: &mut Context<'_>, place: Place) {
        self.abandoned.take(at, &mut self.in_flight, place);
    }

    /// More of a connection's PROXY header came, or the connection ended.
    pub(super) fn take_header(&mut self, at: &mut Context<'_>, id: u64) {
        if self.proxied.advance(id) {
            self.end_header_wait(at, id);
        }
    }

    /// Hands over the connections that have waited long enough for their PROXY headers.
    pub(super) fn end_header_waits(&mut self, at: &mut Context<'_>, now: Time) {
        for id in self.proxied.overdue(now) {
            self.end_header_wait(at, id);
        }
    }

    fn end_header_wait(&mut self, at: &mut Context<'_>, id: u64) {
        let was_full = self.proxied.is_full();
        let Some((listener, arrival)) = self.proxied.take(at, id) else { return };
        if !self.hand_over(at, listener, arrival) && !may_accept(at, listener) {
            pause(at, listener);
        } else if was_full {
            self.resume(at, listener);
        }
    }

    /// Hands over the connections of a dead predecessor that no worker has, as soon as that can be
    /// told. `unread`: some worker has not read all that the predecessor sent. Returns whether
    /// there are connections about which it is too early to tell.
    pub(super) fn look_after_reclaimed(
        &mut self,
        at: &mut Context<'_>,
        keeper: Pid,
        now: Time,
        unread: bool,
    ) -> bool {
        let Some(unclaimed) = self.reclaimed.unclaimed(at, keeper, now, unread) else {
            return true;
        };
        for (id, arrival) in unclaimed {
            // The predecessor may have raised this while the PROXY header was incomplete.
            let _ = socket::wake_at(arrival.fd.as_fd(), 1);
            let arrival = match at.spec.proxy_protocol {
                true => self.proxied.see_client(at, id, arrival),
                false => Some(arrival),
            };
            if let Some(arrival) = arrival {
                self.hand_over(at, id, arrival);
            }
        }
        false
    }

    /// A listener is about to be closed. Its connections that wait for a header or a worker are
    /// closed.
    pub(super) fn close(&mut self, at: &mut Context<'_>, id: ListenerId) {
        self.proxied.forget(at.poller, id);
        self.abandoned.close(at, id);
    }
}

/// Whether this is the connection of a probe, which no other worker may have.
fn is_probe(at: &Context<'_>, id: ListenerId, peer: SocketAddr) -> bool {
    at.listeners.get(id).is_some_and(|open| open.probed(peer).is_some())
}

/// Whether the primary may accept more although some connections wait already.
fn may_accept(at: &Context<'_>, id: ListenerId) -> bool {
    at.listeners.get(id).is_some_and(|open| {
        has_room(open.balance, open.hand_over().map_or(0, |state| state.waiting.len()))
    })
}

/// Stops accepting until a worker can take connections again.
pub(super) fn pause(at: &mut Context<'_>, id: ListenerId) {
    let Some(listener) = at.listeners.get_mut(id) else { return };
    if let Some(fd) = listener.accepting() {
        at.poller.remove(fd);
    }
    if let Some(state) = listener.hand_over_mut() {
        state.watched = false;
    }
}

/// Accepts again, if the listener has a worker.
fn watch(at: &mut Context<'_>, id: ListenerId) {
    if !may_accept(at, id) {
        return;
    }
    let Some(listener) = at.listeners.get(id) else { return };
    let (Some(fd), Some(state)) = (listener.accepting(), listener.hand_over()) else { return };
    if state.watched || listener.targets.is_empty() {
        return;
    }
    match at.poller.add(fd, Source::Accept(id).token()) {
        Ok(()) => {
            if let Some(state) = at.listeners.get_mut(id).and_then(|l| l.hand_over_mut()) {
                state.watched = true;
            }
        }
        Err(error) => at.warn(format!("cannot watch a listener: {error}")),
    }
}
