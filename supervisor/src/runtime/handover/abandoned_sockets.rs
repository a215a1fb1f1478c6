//! Slot sockets that nobody accepts from although their worker lives: a Node program has closed
//! its server (`server.close`, `cluster.worker.disconnect`) and goes on. New connections are
//! steered elsewhere; those that came before wait in the socket's queue. The primary takes them
//! out and hands them to workers that serve the same address, as the primary engine does.
//!
//! Where there is no such worker they stay where they are, for the next one in that slot, or for
//! this one when it listens again.

use std::collections::{BTreeMap, BTreeSet};

use super::{Arrival, HandOver};
use crate::base::ids::{HandOffId, ListenerId, WorkerId};
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
    /// And whether the poller watches each.
    sockets: BTreeMap<Place, bool>,
    /// Taken out, and nobody took them. No more of them than were on their way at once.
    homeless: Vec<(ListenerId, Arrival)>,
}

impl AbandonedSockets {
    /// All of them.
    pub(in crate::runtime) fn places(&self) -> impl Iterator<Item = Place> {
        self.sockets.keys().copied()
    }

    /// With these.
    pub(in crate::runtime) fn of(places: Vec<Place>) -> Self {
        let sockets = places.into_iter().map(|place| (place, false)).collect();
        Self { sockets, homeless: Vec::new() }
    }

    /// Somebody is lent this socket.
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

    /// A connection that was given to a worker of its listener came back.
    pub(super) fn take_homeless(&mut self, id: ListenerId, arrival: Arrival) {
        self.homeless.push((id, arrival));
    }

    fn let_wait(&mut self, at: &Context<'_>, place: Place) {
        self.forget(at.poller, at.listeners, place);
        self.sockets.insert(place, false);
    }

    /// The worker that serves this listener and has the least on its way to it, and its server.
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
}

impl HandOver {
    /// A worker has closed this socket.
    pub(in crate::runtime) fn abandon(&mut self, at: &mut Context<'_>, place: Place) {
        if at.listeners.get(place.0).is_some_and(|open| matches!(open.kind, Kind::Slots)) {
            self.abandoned.sockets.entry(place).or_insert(false);
            self.resume_abandoned(at, place.0);
        }
    }

    /// Somebody may be able to take the connections of a listener's abandoned sockets.
    pub(super) fn resume_abandoned(&mut self, at: &mut Context<'_>, id: ListenerId) {
        let its = |(of, _): &mut (ListenerId, Arrival)| *of == id;
        let homeless: Vec<_> = self.abandoned.homeless.extract_if(.., its).collect();
        for (_, arrival) in homeless {
            self.rehome(at, id, arrival);
        }
        let unwatched =
            |(place, watched): (&Place, &bool)| (place.0 == id && !watched).then_some(*place);
        let unwatched: Vec<_> = self.abandoned.sockets.iter().filter_map(unwatched).collect();
        for place in unwatched {
            if self.abandoned.adopter(at, id, &BTreeSet::new()).is_none() {
                return;
            }
            let fd = at.listeners.get(id).and_then(|open| open.existing(place.1));
            let Some(fd) = fd else { continue };
            match at.poller.add(fd, Source::Abandoned(id, place.1).token()) {
                Ok(()) => drop(self.abandoned.sockets.insert(place, true)),
                Err(error) => at.warn(format!("cannot watch a listener: {error}")),
            }
        }
    }

    /// Connections wait in one of them.
    pub(in crate::runtime) fn take_abandoned(&mut self, at: &mut Context<'_>, place: Place) {
        for _ in 0..ACCEPTS_PER_TURN {
            let fd = at.listeners.get(place.0).and_then(|open| open.existing(place.1));
            let Some(fd) = fd else { return };
            if self.abandoned.adopter(at, place.0, &BTreeSet::new()).is_none() {
                return self.abandoned.let_wait(at, place);
            }
            match socket::accept(fd) {
                Ok(Some((fd, peer))) => self.rehome(at, place.0, Arrival { fd, peer }),
                Ok(None) => return,
                Err(error) => {
                    at.note(format!("cannot accept connections: {error}; trying again"));
                    self.abandoned.let_wait(at, place);
                    return self.throttle.again_soon(clock::now());
                }
            }
        }
    }

    fn rehome(&mut self, at: &mut Context<'_>, id: ListenerId, arrival: Arrival) {
        let Arrival { mut fd, peer } = arrival;
        let mut tried = BTreeSet::new();
        while let Some((worker, key)) = self.abandoned.adopter(at, id, &tried) {
            let hand_off = HandOffId(self.next);
            let Some(node) = at.node(worker) else { break };
            match node.link.newconn(hand_off, &key, fd) {
                Ok(()) => return self.handed_over(at, id, peer, worker),
                Err(refused) => {
                    tried.insert(worker);
                    fd = refused.fd;
                }
            }
        }
        self.abandoned.take_homeless(id, Arrival { fd, peer });
    }
}
