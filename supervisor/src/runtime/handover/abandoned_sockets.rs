//! Slot sockets from which no process accepts although their worker lives: a Node program has
//! closed its server (`server.close`, `cluster.worker.disconnect`) and goes on. The kernel gives
//! them no new connections, but earlier ones still wait in their queues. The primary accepts those
//! and hands them to workers that serve the same address, as the primary engine does.
//!
//! If no worker serves the address, the connections stay in the queue for the next worker of the
//! slot, or for this one when it listens again.

use std::collections::{BTreeMap, BTreeSet};

use super::in_flight::{Arrival, InFlight};
use crate::base::ids::{ListenerId, WorkerId};
use crate::limits::{ACCEPTS_PER_TURN, HAND_OFFS_PER_WORKER};
use crate::runtime::context::{Context, Place};
use crate::runtime::listeners::Listeners;
use crate::runtime::listeners::listener::Kind;
use crate::runtime::source::Source;
use crate::sys::poller::Poller;
use crate::sys::{clock, socket};

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct AbandonedSockets {
    /// The sockets, and whether the poller watches each.
    sockets: BTreeMap<Place, bool>,
    /// Connections that were accepted and that no worker took. Each was in flight before, so
    /// there are never more of them than were in flight at once.
    homeless: Vec<(ListenerId, Arrival)>,
}

impl AbandonedSockets {
    /// The places of all of them.
    pub(in crate::runtime) fn places(&self) -> impl Iterator<Item = Place> {
        self.sockets.keys().copied()
    }

    /// The sockets at these places, as a predecessor left them.
    pub(in crate::runtime) fn of(places: Vec<Place>) -> Self {
        let sockets = places.into_iter().map(|place| (place, false)).collect();
        Self { sockets, homeless: Vec::new() }
    }

    /// A worker is about to be lent this socket.
    pub(in crate::runtime) fn forget(
        &mut self,
        poller: &Poller,
        listeners: &Listeners,
        place: Place,
    ) {
        if self.sockets.remove(&place) == Some(true)
            && let Some(fd) = listeners.get(place.0).and_then(|open| open.existing(place.1))
        {
            poller.remove(fd);
        }
    }

    /// The listener is about to be closed.
    pub(super) fn close(&mut self, at: &Context<'_>, id: ListenerId) {
        let its: Vec<Place> = self.sockets.keys().copied().filter(|p| p.0 == id).collect();
        for place in its {
            self.forget(at.poller, at.listeners, place);
        }
        self.homeless.retain(|(of, _)| *of != id);
    }

    /// A connection was sent to a worker of its listener and came back.
    pub(super) fn take_homeless(&mut self, id: ListenerId, arrival: Arrival) {
        self.homeless.push((id, arrival));
    }

    fn let_wait(&mut self, at: &Context<'_>, place: Place) {
        self.forget(at.poller, at.listeners, place);
        self.sockets.insert(place, false);
    }

    /// The worker that serves this listener and has the fewest connections in flight, and the key
    /// of its server.
    fn adopter(
        &self,
        at: &Context<'_>,
        id: ListenerId,
        tried: &BTreeSet<WorkerId>,
    ) -> Option<(WorkerId, String)> {
        let targets = at.listeners.get(id)?.targets.iter().map(|target| (id, target.socket));
        let serving = targets.filter(|place| !self.sockets.contains_key(place));
        let candidates = serving.filter_map(|place| {
            let child = at.children.values().find(|child| {
                child.ended.is_none()
                    && !tried.contains(&child.id)
                    && child.lent.contains_key(&place)
            })?;
            let node = child.node()?;
            let key = node.key_of(place).filter(|key| node.link.serves(key))?;
            let pending = node.link.pending();
            (pending < HAND_OFFS_PER_WORKER).then_some((pending, child.id, key))
        });
        let (_, worker, key) = candidates.min_by_key(|(pending, ..)| *pending)?;
        Some((worker, key.to_owned()))
    }

    /// A worker has closed this socket.
    pub(super) fn abandon(&mut self, at: &mut Context<'_>, in_flight: &mut InFlight, place: Place) {
        if at.listeners.get(place.0).is_some_and(|open| matches!(open.kind, Kind::Slots)) {
            self.sockets.entry(place).or_insert(false);
            self.resume(at, in_flight, place.0);
        }
    }

    /// A worker may now be able to take the connections of this listener's abandoned sockets.
    pub(super) fn resume(
        &mut self,
        at: &mut Context<'_>,
        in_flight: &mut InFlight,
        id: ListenerId,
    ) {
        let its = |(of, _): &mut (ListenerId, Arrival)| *of == id;
        let homeless: Vec<_> = self.homeless.extract_if(.., its).collect();
        for (_, arrival) in homeless {
            self.rehome(at, in_flight, id, arrival);
        }
        let unwatched =
            |(place, watched): (&Place, &bool)| (place.0 == id && !watched).then_some(*place);
        let unwatched: Vec<_> = self.sockets.iter().filter_map(unwatched).collect();
        for place in unwatched {
            if self.adopter(at, id, &BTreeSet::new()).is_none() {
                return;
            }
            let fd = at.listeners.get(id).and_then(|open| open.existing(place.1));
            let Some(fd) = fd else { continue };
            match at.poller.add(fd, Source::Abandoned(id, place.1).token()) {
                Ok(()) => drop(self.sockets.insert(place, true)),
                Err(error) => at.warn(format!("cannot watch a listener: {error}")),
            }
        }
    }

    /// Connections wait in the queue of this socket.
    pub(super) fn take(&mut self, at: &mut Context<'_>, in_flight: &mut InFlight, place: Place) {
        for _ in 0..ACCEPTS_PER_TURN {
            let fd = at.listeners.get(place.0).and_then(|open| open.existing(place.1));
            let Some(fd) = fd else { return };
            if self.adopter(at, place.0, &BTreeSet::new()).is_none() {
                return self.let_wait(at, place);
            }
            match socket::accept(fd) {
                Ok(Some((fd, peer))) => {
                    self.rehome(at, in_flight, place.0, Arrival { fd, peer });
                }
                Ok(None) => return,
                Err(error) => {
                    at.note(format!("cannot accept connections: {error}; trying again"));
                    self.let_wait(at, place);
                    return in_flight.throttle.again_soon(clock::now());
                }
            }
        }
    }

    fn rehome(
        &mut self,
        at: &mut Context<'_>,
        in_flight: &mut InFlight,
        id: ListenerId,
        mut arrival: Arrival,
    ) {
        let mut tried = BTreeSet::new();
        while let Some((worker, key)) = self.adopter(at, id, &tried) {
            match in_flight.send(at, (worker, &key), id, arrival) {
                Ok(()) => return,
                Err((_, refused)) => {
                    tried.insert(worker);
                    arrival = refused;
                }
            }
        }
        self.take_homeless(id, arrival);
    }
}
