//! Who gets the new connections of a listener: the sockets of the workers that serve; else those
//! in which connections best wait.

use std::collections::BTreeMap;

use super::action::Target;
use super::ids::{Slot, WorkerId};
use super::slots::{Seat, SlotState};
use super::sockets::{Hold, Listener, Socket};
use super::worker::Worker;

/// The slots and workers, as far as steering asks.
pub(super) struct Crew<'a> {
    pub(super) slots: &'a BTreeMap<Slot, SlotState>,
    pub(super) workers: &'a BTreeMap<WorkerId, Worker>,
}

impl Crew<'_> {
    /// Sorted. Empty: there is nothing better than what is.
    pub(super) fn targets(&self, listener: &Listener) -> Vec<Target> {
        let chosen = |choose: fn(&Self, &Socket) -> Option<Slot>| -> Vec<Target> {
            let open = listener.sockets().filter(|(_, socket)| socket.open);
            let mut targets: Vec<Target> = open
                .filter_map(|(id, socket)| choose(self, socket).map(|slot| (slot, id)))
                .map(|(slot, socket)| Target { slot, socket })
                .collect();
            targets.sort_unstable();
            targets
        };
        [Self::serves, Self::comes_soon, Self::may_come]
            .into_iter()
            .map(chosen)
            .find(|targets| !targets.is_empty())
            .unwrap_or_default()
    }

    /// Its holder is committed and ready.
    fn serves(&self, socket: &Socket) -> Option<Slot> {
        match socket.hold {
            Hold::Lent { worker, slot, listening: true } => {
                let ready = self.workers.get(&worker).is_some_and(Worker::is_ready);
                (ready && self.is_seated(worker, slot)).then_some(slot)
            }
            Hold::Lent { listening: false, .. } | Hold::Vacant { .. } | Hold::Free => None,
        }
    }

    /// Its holder is about to be ready, or a worker is about to take it.
    fn comes_soon(&self, socket: &Socket) -> Option<Slot> {
        match socket.hold {
            Hold::Lent { worker, slot, .. } => {
                let coming = self.workers.get(&worker).is_some_and(Worker::is_coming);
                (coming && self.is_seated(worker, slot)).then_some(slot)
            }
            Hold::Vacant { slot, .. } => {
                self.slots.get(&slot).is_some_and(|state| state.has_hope()).then_some(slot)
            }
            Hold::Free => None,
        }
    }

    /// Somebody may revive its slot one day.
    fn may_come(&self, socket: &Socket) -> Option<Slot> {
        match socket.hold {
            Hold::Vacant { slot, .. } => {
                self.slots.get(&slot).is_some_and(|state| !state.leaving).then_some(slot)
            }
            Hold::Lent { .. } | Hold::Free => None,
        }
    }

    fn is_seated(&self, worker: WorkerId, slot: Slot) -> bool {
        self.slots.get(&slot).is_some_and(|state| state.seat == Seat::Held(worker))
    }
}
