//! The primary engine: the primary accepts, picks a worker, and hands the connection over.
//!
//! Our copy of a connection is kept by the link until the worker has said that it took it. One
//! that a worker refused, or had not taken when it died, goes to another, if nobody has touched it.
//! What nobody can take now waits here, a bounded number of them, and meanwhile nothing more is
//! accepted: the rest waits in the kernel's queue. Clients of one slot (`sticky`) do not keep those
//! of another waiting.
//!
//! A worker that has stopped taking connections gets no more of them until it takes one again; one
//! that has refused a connection is left alone for a moment.

pub(super) mod abandoned_sockets;
pub(super) mod pick;
pub(super) mod proxy_header;
pub(super) mod reclaimed_connections;
pub(super) mod rendezvous;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use config::spec::Balance;

use self::pick::{Candidate, pick};
use super::Runtime;
use super::listeners::listener::Listener;
use super::probe::drain::Table;
use super::source::Source;
use super::workers::Child;
use crate::base::ids::{ListenerId, SocketId, WorkerId};
use crate::base::time::Time;
use crate::limits::{ACCEPTS_PER_TURN, HAND_OFFS_PER_WORKER, WAITING_FOR_THEIR_SLOT};
use crate::protocol::node::{HandOffId, Refusal, TakenBack};
use crate::sys::{clock, socket};

/// A worker that has left so many connections waiting for so long gets no more: few of them may
/// wait a little longer, so that round-robin is exact also on a busy machine.
const PASSED_OVER: [(usize, Duration); 2] =
    [(1, Duration::from_secs(1)), (8, Duration::from_millis(100))];
/// After so long it is reported.
const SLOW_TO_TAKE: Duration = Duration::from_secs(5);
/// How long a worker that refused a connection is offered no other: it may have as many as it
/// wants (`server.maxConnections`), and would only be asked again and again.
const RESTS: Duration = Duration::from_millis(20);
/// How long accepting pauses when no descriptor is left for it.
pub(super) const OUT_OF_FDS: Duration = Duration::from_millis(100);

/// How often the kernel is asked how many connections each worker holds.
const COUNT_HELD: Duration = Duration::from_millis(100);

/// A connection on its way to a worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HandOff {
    listener: ListenerId,
    peer: SocketAddr,
    /// When it was given to the worker.
    given: Time,
    /// Since then, or since it was last said that the worker is slow.
    since: Time,
}

/// One that looks for a worker.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) fd: OwnedFd,
    /// Its client.
    pub(super) peer: SocketAddr,
}

impl Runtime {
    /// Connections wait at a hand-over listener.
    pub(super) fn take_arrivals(&mut self, id: ListenerId) {
        let looks = self.core.spec().proxy_protocol;
        for _ in 0..ACCEPTS_PER_TURN {
            if looks && self.proxied.is_full() {
                return self.pause(id);
            }
            let Some(fd) = self.listeners.get(id).and_then(|open| open.accepting()) else { return };
            match socket::accept(fd) {
                Ok(Some((fd, peer))) => {
                    let arrival = Arrival { fd, peer };
                    let arrival = if looks { self.see_client(id, arrival) } else { Some(arrival) };
                    let waits = arrival.is_some_and(|arrival| !self.hand_over(id, arrival));
                    if waits && !self.has_room(id) {
                        return self.pause(id);
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    self.note(format!("cannot accept connections: {error}; trying again"));
                    self.pause(id);
                    self.accept_again = Some(clock::now() + OUT_OF_FDS);
                    return;
                }
            }
        }
    }

    /// Gives a connection to a worker; false: nobody can take it now, and it waits.
    pub(super) fn hand_over(&mut self, id: ListenerId, arrival: Arrival) -> bool {
        if self.listeners.get(id).is_some_and(|open| open.hand_over().is_none()) {
            // The kernel placed it once, and its worker closed the server.
            self.take_homeless(id, arrival);
            return false;
        }
        self.count_held(id);
        let mut tried = BTreeSet::new();
        let mut fd = arrival.fd;
        while let Some((worker, socket)) = self.choose(id, arrival.peer, &tried) {
            let hand_off = HandOffId(self.next_hand_off);
            let Some(node) = self.node(worker) else { break };
            let Some(key) = node.key_of((id, socket)).map(str::to_owned) else { break };
            match node.link.newconn(hand_off, &key, fd) {
                Ok(()) => {
                    self.handed_over(id, arrival.peer, worker);
                    if self.node(worker).is_some_and(|node| node.link.pending() >= 2) {
                        self.read_answers_later(worker, clock::now());
                    }
                    return true;
                }
                Err(refused) => {
                    if refused.why == Refusal::Full {
                        self.note("a worker takes connections more slowly than they come".into());
                    }
                    tried.insert(worker);
                    fd = refused.fd;
                }
            }
        }
        if let Some(state) = self.listeners.get_mut(id).and_then(|open| open.hand_over_mut()) {
            state.waiting.push_back((fd, arrival.peer));
        }
        let (now, again) = (clock::now(), self.accept_again);
        let rests = self.children.values().filter_map(|child| child.node.as_ref()?.rests);
        self.accept_again = rests.filter(|until| *until > now).chain(again).min();
        false
    }

    /// Whether more may be accepted although some wait already: those wait for their own slot.
    pub(super) fn has_room(&self, id: ListenerId) -> bool {
        self.listeners.get(id).is_some_and(|open| {
            let sticky = open.balance == Balance::Sticky;
            let waiting = open.hand_over().map_or(0, |state| state.waiting.len());
            waiting == 0 || (sticky && waiting < WAITING_FOR_THEIR_SLOT)
        })
    }

    /// A connection is on its way.
    pub(super) fn handed_over(&mut self, id: ListenerId, peer: SocketAddr, worker: WorkerId) {
        let (hand_off, now) = (HandOffId(self.next_hand_off), clock::now());
        self.next_hand_off += 1;
        let entry = HandOff { listener: id, peer, given: now, since: now };
        self.hand_offs.insert(hand_off, (worker, entry));
        self.slow_due.get_or_insert(now + SLOW_TO_TAKE);
        self.write_channel(worker);
    }

    /// Asks the kernel how many connections each worker holds, where that decides, and not for
    /// every connection: in between, those handed over are counted.
    fn count_held(&mut self, id: ListenerId) {
        let now = clock::now();
        let decides = |open: &Listener| open.balance == Balance::LeastConnections;
        let stale = self.held_counted.is_none_or(|at| now.since(at) >= COUNT_HELD);
        if !stale || !self.listeners.get(id).is_some_and(decides) {
            return;
        }
        self.held_counted = Some(now);
        let table = Table::read(&self.listeners);
        let lives = |child: &&Child| child.ended.is_none();
        let news = |(child, held): (&Child, u32)| (held != child.held).then_some((child.id, held));
        let held = |child: &Child| news((child, table.held_by(child.pid.0)?));
        let all = self.children.values().filter(lives).filter_map(held);
        for (worker, held) in all.collect::<Vec<_>>() {
            if let Some(child) = self.children.get_mut(&worker) {
                child.held = held;
            }
        }
    }

    /// Picks among the workers that are steered to and take connections.
    fn choose(
        &mut self,
        id: ListenerId,
        peer: SocketAddr,
        tried: &BTreeSet<WorkerId>,
    ) -> Option<(WorkerId, SocketId)> {
        let listener = self.listeners.get(id)?;
        let now = clock::now();
        let mut places = Vec::with_capacity(listener.targets.len());
        let mut candidates = Vec::with_capacity(listener.targets.len());
        for target in &listener.targets {
            let place = (id, target.socket);
            let lives = |child: &&Child| child.ended.is_none() && child.lent.contains_key(&place);
            let child = self.children.values().find(lives);
            let (held, full) = match child.map(|child| (child, child.node.as_ref())) {
                Some((child, Some(node))) => {
                    let takes = node.key_of(place).is_some_and(|key| node.link.takes(key));
                    if !takes || tried.contains(&child.id) {
                        continue;
                    }
                    let pending = node.link.pending();
                    let full = pending >= HAND_OFFS_PER_WORKER
                        || self.is_passed_over(child.id, pending, now)
                        || node.rests.is_some_and(|until| now < until);
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
        let state = self.listeners.get_mut(id)?.hand_over_mut()?;
        let (worker, socket) = places[pick(balance, &candidates, &mut state.turn, seed, peer)?];
        Some((worker?, socket))
    }

    fn is_passed_over(&self, worker: WorkerId, pending: usize, now: Time) -> bool {
        let oldest = self.oldest_hand_off(worker).map(|given| now.since(given));
        let past = |(count, span): &(usize, Duration)| {
            pending >= *count && oldest.is_some_and(|oldest| oldest >= *span)
        };
        PASSED_OVER.iter().any(past)
    }

    /// Stops accepting until somebody can take connections again.
    pub(super) fn pause(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get_mut(id) else { return };
        if let Some(fd) = listener.accepting() {
            self.poller.remove(fd);
        }
        if let Some(state) = listener.hand_over_mut() {
            state.watched = false;
        }
    }

    /// Somebody may be able to take connections again: first those that wait here.
    pub(super) fn resume(&mut self, id: ListenerId) {
        self.resume_orphans(id);
        let Some(open) = self.listeners.get(id) else { return };
        let sticky = open.balance == Balance::Sticky;
        for _ in 0..open.hand_over().map_or(0, |state| state.waiting.len()) {
            let state = self.listeners.get_mut(id).and_then(|open| open.hand_over_mut());
            let next = state.and_then(|state| state.waiting.pop_front());
            let Some((fd, peer)) = next else { return };
            // It goes to the back of those that wait, where it is the newest of them no more than
            // by one turn; none is lost.
            if !self.hand_over(id, Arrival { fd, peer }) && !sticky {
                return;
            }
        }
        if !self.has_room(id) {
            return;
        }
        let Some(listener) = self.listeners.get(id) else { return };
        let (Some(fd), Some(state)) = (listener.accepting(), listener.hand_over()) else { return };
        let nobody = listener.targets.is_empty();
        if state.watched || nobody {
            return;
        }
        let added = self.poller.add(fd, Source::Accept(id).token());
        match added {
            Ok(()) => {
                if let Some(state) = self.listeners.get_mut(id).and_then(|l| l.hand_over_mut()) {
                    state.watched = true;
                }
            }
            Err(error) => self.warn(format!("cannot watch a listener: {error}")),
        }
    }

    /// A worker took a connection.
    pub(super) fn hand_off_done(&mut self, worker: WorkerId, id: HandOffId) {
        let Some((_, hand_off)) = self.hand_offs.remove(&id) else { return };
        let open = self.listeners.get_mut(hand_off.listener);
        // What the kernel placed before is counted there.
        if let Some(state) = open.and_then(Listener::hand_over_mut)
            && let Some(child) = self.children.get_mut(&worker)
        {
            child.accepted += 1;
            child.held += 1;
            *state.given.entry(child.slot.0).or_default() += 1;
        }
        self.resume(hand_off.listener);
    }

    /// A worker did not take a connection, nor read from it.
    pub(super) fn hand_off_refused(&mut self, worker: WorkerId, id: HandOffId, fd: OwnedFd) {
        let Some((_, hand_off)) = self.hand_offs.remove(&id) else { return };
        if let Some(node) = self.node(worker) {
            node.rests = Some(clock::now() + RESTS);
        }
        self.hand_over(hand_off.listener, Arrival { fd, peer: hand_off.peer });
    }

    /// Connections that a worker had not taken when it, or its channel, ended.
    pub(super) fn take_back(&mut self, back: Vec<TakenBack>) {
        for TakenBack { id, fd, arrived } in back {
            let Some((_, hand_off)) = self.hand_offs.remove(&id) else { continue };
            // One that it had in its hands may have been read from, although it never said so.
            if !arrived || socket::is_untouched(fd.as_fd()) {
                self.hand_over(hand_off.listener, Arrival { fd, peer: hand_off.peer });
            }
        }
    }

    /// When the oldest of the connections that a worker has not taken was given to it.
    pub(super) fn oldest_hand_off(&self, worker: WorkerId) -> Option<Time> {
        // They are in the order of giving.
        let (_, hand_off) = self.hand_offs.values().find(|(to, _)| *to == worker)?;
        Some(hand_off.given)
    }

    /// When accepting is to be tried again, or slow workers looked for.
    pub(super) fn hand_over_deadline(&self) -> Option<Time> {
        let all = [self.slow_due, self.accept_again, self.answers_due, self.proxied.deadline()];
        all.into_iter().flatten().min()
    }

    /// What is due at that deadline.
    pub(super) fn look_after_hand_overs(&mut self, now: Time) {
        self.end_header_waits(now);
        self.read_answers(now);
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_again = None;
            self.hear_again();
            let all: Vec<ListenerId> = self.listeners.iter().map(|open| open.id).collect();
            all.into_iter().for_each(|id| self.resume(id));
        }
        if self.slow_due.is_none_or(|due| now < due) {
            return;
        }
        let mut slow = BTreeSet::new();
        for (worker, hand_off) in self.hand_offs.values_mut() {
            if now.since(hand_off.since) >= SLOW_TO_TAKE {
                hand_off.since = now;
                slow.insert(*worker);
            }
        }
        for worker in slow {
            self.report_slow(worker);
        }
        let oldest = self.hand_offs.values().map(|(_, hand_off)| hand_off.since).min();
        self.slow_due = oldest.map(|since| since + SLOW_TO_TAKE);
    }

    fn report_slow(&mut self, worker: WorkerId) {
        let Some(child) = self.children.get_mut(&worker) else { return };
        let (slot, pid) = (child.slot, child.pid.0);
        let Some(node) = child.node.as_mut() else { return };
        let (pending, unsent) = (node.link.pending(), node.link.take_back_unsent());
        self.warn(format!(
            "slot {slot} (pid {pid}) has not taken connections for {}s: {pending} were handed to it, {} of them go to other workers",
            SLOW_TO_TAKE.as_secs(),
            unsent.len()
        ));
        self.take_back(unsent);
    }
}
