//! Slot sockets that nobody accepts from although their worker lives: a Node program has closed
//! its server (`server.close`, `cluster.worker.disconnect`) and goes on. New connections are
//! steered elsewhere; those that came before wait in the socket's queue. The primary takes them
//! out and hands them to workers that serve the same address, as the primary engine does.
//!
//! Where there is no such worker they stay where they are, for the next one in that slot, or for
//! this one when it listens again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Arrival;
use crate::base::ids::{ListenerId, SocketId, WorkerId};
use crate::limits::{ACCEPTS_PER_TURN, HAND_OFFS_PER_WORKER};
use crate::protocol::node::HandOffId;
use crate::runtime::Runtime;
use crate::runtime::listeners::Listeners;
use crate::runtime::listeners::listener::Kind;
use crate::runtime::source::Source;
use crate::sys::poller::Poller;
use crate::sys::{clock, socket};

/// After so long a connection that was refused, or could not be accepted, is tried again.
const AGAIN: Duration = Duration::from_millis(20);

type Place = (ListenerId, SocketId);

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct AbandonedSockets {
    /// And whether the poller watches each.
    sockets: BTreeMap<Place, bool>,
    /// Taken out, and whoever was to have them did not take them. No more of them than were on
    /// their way at once.
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
}

impl Runtime {
    /// A worker has closed this socket.
    pub(in crate::runtime) fn orphan(&mut self, place: Place) {
        if self.listeners.get(place.0).is_some_and(|open| matches!(open.kind, Kind::Slots)) {
            self.orphans.sockets.entry(place).or_insert(false);
            self.resume_orphans(place.0);
        }
    }

    /// The listener is about to be closed.
    pub(in crate::runtime) fn forget_orphans(&mut self, id: ListenerId) {
        let its: Vec<Place> = self.orphans.sockets.keys().copied().filter(|p| p.0 == id).collect();
        for place in its {
            self.orphans.forget(&self.poller, &self.listeners, place);
        }
        self.orphans.homeless.retain(|(of, _)| *of != id);
    }

    /// Somebody may be able to take the connections of a listener's orphans.
    pub(in crate::runtime) fn resume_orphans(&mut self, id: ListenerId) {
        let its = |(of, _): &mut (ListenerId, Arrival)| *of == id;
        let homeless: Vec<_> = self.orphans.homeless.extract_if(.., its).collect();
        for (_, arrival) in homeless {
            self.rehome(id, arrival);
        }
        let unwatched =
            |(place, watched): (&Place, &bool)| (place.0 == id && !watched).then_some(*place);
        let unwatched: Vec<_> = self.orphans.sockets.iter().filter_map(unwatched).collect();
        for place in unwatched {
            if self.adopter(id, &BTreeSet::new()).is_none() {
                return;
            }
            let fd = self.listeners.get(id).and_then(|open| open.existing(place.1));
            let Some(fd) = fd else { continue };
            match self.poller.add(fd, Source::Orphan(id, place.1).token()) {
                Ok(()) => drop(self.orphans.sockets.insert(place, true)),
                Err(error) => self.warn(format!("cannot watch a listener: {error}")),
            }
        }
    }

    /// Connections wait in one of them.
    pub(in crate::runtime) fn take_orphans(&mut self, place: Place) {
        for _ in 0..ACCEPTS_PER_TURN {
            let fd = self.listeners.get(place.0).and_then(|open| open.existing(place.1));
            let Some(fd) = fd else { return };
            if self.adopter(place.0, &BTreeSet::new()).is_none() {
                return self.let_wait(place);
            }
            match socket::accept(fd) {
                Ok(Some((fd, peer))) => self.rehome(place.0, Arrival { fd, peer }),
                Ok(None) => return,
                Err(error) => {
                    self.note(format!("cannot accept connections: {error}; trying again"));
                    self.let_wait(place);
                    return self.try_again_soon();
                }
            }
        }
    }

    /// A connection that was given to a worker of its listener came back.
    pub(in crate::runtime) fn take_homeless(&mut self, id: ListenerId, arrival: Arrival) {
        self.orphans.homeless.push((id, arrival));
        self.try_again_soon();
    }

    fn try_again_soon(&mut self) {
        let soon = clock::now() + AGAIN;
        self.accept_again = Some(self.accept_again.map_or(soon, |at| at.min(soon)));
    }

    fn let_wait(&mut self, place: Place) {
        self.orphans.forget(&self.poller, &self.listeners, place);
        self.orphans.sockets.insert(place, false);
    }

    fn rehome(&mut self, id: ListenerId, arrival: Arrival) {
        let Arrival { mut fd, peer } = arrival;
        let mut tried = BTreeSet::new();
        while let Some((worker, key)) = self.adopter(id, &tried) {
            let hand_off = HandOffId(self.next_hand_off);
            let Some(node) = self.node(worker) else { break };
            match node.link.newconn(hand_off, &key, fd) {
                Ok(()) => return self.handed_over(id, peer, worker),
                Err(refused) => {
                    tried.insert(worker);
                    fd = refused.fd;
                }
            }
        }
        self.orphans.homeless.push((id, Arrival { fd, peer }));
    }

    /// The worker that serves this listener and has the least on its way to it, and its server.
    fn adopter(&self, id: ListenerId, tried: &BTreeSet<WorkerId>) -> Option<(WorkerId, String)> {
        let targets = self.listeners.get(id)?.targets.iter().map(|target| (id, target.socket));
        let serving = targets.filter(|place| !self.orphans.sockets.contains_key(place));
        let candidates = serving.filter_map(|place| {
            let child = self.children.values().find(|child| {
                child.ended.is_none()
                    && !tried.contains(&child.id)
                    && child.lent.contains_key(&place)
            })?;
            let node = child.node.as_ref()?;
            let key = node.key_of(place).filter(|key| node.link.serves(key))?;
            let pending = node.link.pending();
            (pending < HAND_OFFS_PER_WORKER).then_some((pending, child.id, key))
        });
        let (_, worker, key) = candidates.min_by_key(|(pending, ..)| *pending)?;
        Some((worker, key.to_owned()))
    }
}
