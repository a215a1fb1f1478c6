//! The primary engine: the primary accepts, picks a worker, and hands the connection over.
//!
//! Our copy of a connection is kept by the link until the worker has said that it took it. One
//! that a worker refused, or had not taken when it died, goes to another, if nobody has touched it.
//! What nobody can take now waits here, a bounded number of them, and meanwhile nothing more is
//! accepted: the rest waits in the kernel's queue. Clients of one slot (`sticky`) do not keep those
//! of another waiting.
//!
//! `policy::throttle` says which workers get none now, and when accepting is tried again.

pub(super) mod abandoned_sockets;
pub(super) mod pick;
pub(super) mod proxy_header;
pub(super) mod reclaimed_connections;
pub(super) mod rendezvous;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use config::spec::Balance;

use self::abandoned_sockets::AbandonedSockets;
use self::pick::{Candidate, pick};
use self::proxy_header::ProxyHeaders;
use self::reclaimed_connections::ReclaimedConnections;
use super::context::Context;
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
use crate::sys::{clock, socket};

/// How often the kernel is asked how many connections each worker holds.
const COUNT_HELD: Duration = Duration::from_millis(100);
/// How long acknowledgements may wait until they are read.
const ANSWERS: Duration = Duration::from_millis(1);
/// A worker with this many connections that have no answer yet is looked at once.
const ANSWERS_AT_ONCE: usize = 24;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct HandOver {
    /// Who gets none now, and when accepting is tried again.
    pub(super) throttle: Throttle,
    /// Connections on their way: from which listener, and from which client.
    on_their_way: BTreeMap<HandOffId, (ListenerId, SocketAddr)>,
    next: u64,
    /// Connections that wait for their PROXY header.
    proxied: ProxyHeaders,
    /// Slot sockets that nobody listens on although their worker lives.
    pub(super) abandoned: AbandonedSockets,
    /// Connections that a predecessor had accepted.
    reclaimed: ReclaimedConnections,
    /// When the kernel was last asked how many connections each worker holds.
    held_counted: Option<Time>,
    /// When the channels of workers that acknowledge many connections are read.
    answers_due: Option<Time>,
}

/// A connection that looks for a worker.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) fd: OwnedFd,
    /// Its client.
    pub(super) peer: SocketAddr,
}

impl HandOver {
    /// That of a primary which goes on where another ended. `next`: the first number that the
    /// predecessor has not given to a connection.
    pub(super) fn resumed(
        next: u64,
        abandoned: AbandonedSockets,
        reclaimed: ReclaimedConnections,
    ) -> Self {
        Self { next, abandoned, reclaimed, ..Self::default() }
    }

    /// For the state: the number of the next connection.
    pub(super) fn next(&self) -> u64 {
        self.next
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
                    return self.throttle.out_of_descriptors(clock::now());
                }
            }
        }
    }

    /// Gives a connection to a worker; false: nobody can take it now, and it waits.
    pub(super) fn hand_over(
        &mut self,
        at: &mut Context<'_>,
        id: ListenerId,
        arrival: Arrival,
    ) -> bool {
        if at.listeners.get(id).is_some_and(|open| open.hand_over().is_none()) {
            // The kernel placed it once, and its worker closed the server.
            self.abandoned.take_homeless(id, arrival);
            self.throttle.again_soon(clock::now());
            return false;
        }
        self.count_held(at, id);
        let mut tried = BTreeSet::new();
        let mut fd = arrival.fd;
        while let Some((worker, socket)) = self.choose(at, id, arrival.peer, &tried) {
            let hand_off = HandOffId(self.next);
            let Some(node) = at.node(worker) else { break };
            let Some(key) = node.key_of((id, socket)).map(str::to_owned) else { break };
            match node.link.newconn(hand_off, &key, fd) {
                Ok(()) => {
                    self.handed_over(at, id, arrival.peer, worker);
                    if at.node(worker).is_some_and(|node| node.link.pending() >= 2) {
                        self.read_answers_later(at, worker, clock::now());
                    }
                    return true;
                }
                Err(refused) => {
                    if refused.why == Refusal::Full {
                        at.note("a worker takes connections more slowly than they come".into());
                    }
                    tried.insert(worker);
                    fd = refused.fd;
                }
            }
        }
        if let Some(state) = at.listeners.get_mut(id).and_then(|open| open.hand_over_mut()) {
            state.waiting.push_back((fd, arrival.peer));
        }
        self.throttle.nobody_takes(clock::now());
        false
    }

    /// A connection is on its way.
    fn handed_over(
        &mut self,
        at: &mut Context<'_>,
        id: ListenerId,
        peer: SocketAddr,
        worker: WorkerId,
    ) {
        let hand_off = HandOffId(self.next);
        self.next += 1;
        self.on_their_way.insert(hand_off, (id, peer));
        self.throttle.gave(clock::now(), hand_off, worker);
        channel::write(at, worker);
    }

    /// Asks the kernel how many connections each worker holds, where that decides, and not for
    /// every connection: in between, those handed over are counted.
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
                    let full = self.throttle.is_full(now, child.id, pending);
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

    /// Somebody may be able to take connections again: first those that wait here.
    pub(super) fn resume(&mut self, at: &mut Context<'_>, id: ListenerId) {
        self.resume_abandoned(at, id);
        let Some(open) = at.listeners.get(id) else { return };
        let sticky = open.balance == Balance::Sticky;
        for _ in 0..open.hand_over().map_or(0, |state| state.waiting.len()) {
            let state = at.listeners.get_mut(id).and_then(|open| open.hand_over_mut());
            let next = state.and_then(|state| state.waiting.pop_front());
            let Some((fd, peer)) = next else { return };
            // It goes to the back of those that wait, where it is the newest of them no more than
            // by one turn; none is lost.
            if !self.hand_over(at, id, Arrival { fd, peer }) && !sticky {
                return;
            }
        }
        watch(at, id);
    }

    /// The same for every listener.
    pub(super) fn resume_all(&mut self, at: &mut Context<'_>) {
        at.listener_ids().into_iter().for_each(|id| self.resume(at, id));
    }

    /// A worker took a connection.
    pub(super) fn done(&mut self, at: &mut Context<'_>, worker: WorkerId, id: HandOffId) {
        self.throttle.settled(id);
        let Some((listener, _)) = self.on_their_way.remove(&id) else { return };
        let open = at.listeners.get_mut(listener);
        // What the kernel placed before is counted there.
        if let Some(state) = open.and_then(Listener::hand_over_mut)
            && let Some(child) = at.children.get_mut(&worker)
        {
            child.accepted += 1;
            child.held += 1;
            *state.given.entry(child.slot.0).or_default() += 1;
        }
        self.resume(at, listener);
    }

    /// A worker did not take a connection, nor read from it.
    pub(super) fn refused(
        &mut self,
        at: &mut Context<'_>,
        worker: WorkerId,
        id: HandOffId,
        fd: OwnedFd,
    ) {
        self.throttle.settled(id);
        let Some((listener, peer)) = self.on_their_way.remove(&id) else { return };
        self.throttle.refused(clock::now(), worker);
        self.hand_over(at, listener, Arrival { fd, peer });
    }

    /// Connections that a worker had not taken when it, or its channel, ended.
    pub(super) fn take_back(&mut self, at: &mut Context<'_>, back: Vec<TakenBack>) {
        for TakenBack { id, fd, arrived } in back {
            self.throttle.settled(id);
            let Some((listener, peer)) = self.on_their_way.remove(&id) else { continue };
            // One that it had in its hands may have been read from, although it never said so.
            if !arrived || socket::is_untouched(fd.as_fd()) {
                self.hand_over(at, listener, Arrival { fd, peer });
            }
        }
    }

    /// A worker that gets connections in quick succession acknowledges each by two lines. They are
    /// read some at a time, for each one that woke us would cost more than it says.
    fn read_answers_later(&mut self, at: &mut Context<'_>, worker: WorkerId, now: Time) {
        let Some(node) = at.node(worker) else { return };
        let many = node.link.pending() >= ANSWERS_AT_ONCE;
        if !std::mem::replace(&mut node.read_later, true) {
            channel::watch(at, worker);
        }
        let due = if many { now } else { now + ANSWERS };
        self.answers_due = Some(self.answers_due.map_or(due, |other| other.min(due)));
    }

    /// Whether the acknowledgements that were left for later are to be read now.
    pub(super) fn takes_answers(&mut self, now: Time) -> bool {
        self.answers_due.take_if(|due| *due <= now).is_some()
    }

    /// Some acknowledgements are still awaited.
    pub(super) fn awaits_answers(&mut self, now: Time) {
        self.answers_due = Some(now + ANSWERS);
    }

    /// When one of the `look_after` calls has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        let all = [self.throttle.deadline(), self.answers_due, self.proxied.deadline()];
        all.into_iter().flatten().min()
    }

    /// Says which workers have stopped taking connections; what they were not sent yet goes to
    /// others.
    pub(super) fn look_after_slow(&mut self, at: &mut Context<'_>, now: Time) {
        for worker in self.throttle.slow(now) {
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

    /// A listener is about to be closed, and with it what waits there.
    pub(super) fn close(&mut self, at: &mut Context<'_>, id: ListenerId) {
        self.proxied.forget(at.poller, id);
        self.abandoned.close(at, id);
    }
}

/// Whether more may be accepted although some wait already.
fn may_accept(at: &Context<'_>, id: ListenerId) -> bool {
    at.listeners.get(id).is_some_and(|open| {
        has_room(open.balance, open.hand_over().map_or(0, |state| state.waiting.len()))
    })
}

/// Stops accepting until somebody can take connections again.
pub(super) fn pause(at: &mut Context<'_>, id: ListenerId) {
    let Some(listener) = at.listeners.get_mut(id) else { return };
    if let Some(fd) = listener.accepting() {
        at.poller.remove(fd);
    }
    if let Some(state) = listener.hand_over_mut() {
        state.watched = false;
    }
}

/// Accepts again, if somebody is there to be handed connections.
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
