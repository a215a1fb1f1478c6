//! The targets of new connections of a listener: the sockets of the workers that serve, or else
//! those in which connections best wait. Where each client has its own slot (`balance = sticky`),
//! the clients of a dead worker's slot wait in the same socket for the next worker, for a while.

use std::collections::BTreeMap;

use crate::base::ids::{Slot, WorkerId};
use crate::primary::action::Target;
use crate::primary::slots::slot::{Presence, Seat, SlotState};
use crate::primary::sockets::{Hold, Listener, Socket};
use crate::primary::worker::Worker;

/// The slots and workers that steering asks about.
pub(in crate::primary) struct Crew<'a> {
    pub(in crate::primary) slots: &'a BTreeMap<Slot, SlotState>,
    pub(in crate::primary) workers: &'a BTreeMap<WorkerId, Worker>,
}

impl Crew<'_> {
    /// The targets, sorted. Empty: there is nothing better than the present targets.
    pub(in crate::primary) fn targets(&self, listener: &Listener) -> Vec<Target> {
        let chosen = |choose: fn(&Self, &Socket) -> Option<Slot>| -> Vec<Target> {
            let open = listener.sockets().filter(|(_, socket)| socket.open);
            let mut targets: Vec<Target> = open
                .filter_map(|(id, socket)| choose(self, socket).map(|slot| (slot, id)))
                .map(|(slot, socket)| Target { slot, socket })
                .collect();
            targets.sort_unstable();
            targets
        };
        let serves_well =
            |(_, socket): (_, &Socket)| socket.open && self.serves_well(socket).is_some();
        let best = match listener.sockets().any(serves_well) {
            true => Self::serves_well_or_is_missed,
            false => Self::serves_or_is_missed,
        };
        [best, Self::comes_soon, Self::may_come]
            .into_iter()
            .map(chosen)
            .find(|targets| !targets.is_empty())
            .unwrap_or_default()
    }

    fn serves_well_or_is_missed(&self, socket: &Socket) -> Option<Slot> {
        self.serves_well(socket).or_else(|| self.is_missed(socket))
    }

    /// As `serves`, and the worker is not withdrawn. If none of a listener is so, those that are
    /// withdrawn serve.
    fn serves_well(&self, socket: &Socket) -> Option<Slot> {
        let well = match socket.hold {
            Hold::Lent { worker, .. } => self.workers.get(&worker).is_some_and(Worker::serves_well),
            Hold::Vacant { .. } | Hold::Free => false,
        };
        self.serves(socket).filter(|_| well)
    }

    fn serves_or_is_missed(&self, socket: &Socket) -> Option<Slot> {
        self.serves(socket).or_else(|| self.is_missed(socket))
    }

    /// The clients of the socket's slot wait for the next worker there.
    fn is_missed(&self, socket: &Socket) -> Option<Slot> {
        let missed = |slot: &Slot| {
            self.slots.get(slot).is_some_and(|state| {
                state.has_hope() && matches!(state.presence, Presence::Missed { .. })
            })
        };
        match socket.hold {
            Hold::Lent { worker, slot, .. } => {
                let waits = |worker: &Worker| worker.is_coming() || worker.is_ending();
                let waits = self.workers.get(&worker).is_some_and(waits);
                (waits && socket.used && self.is_seated(worker, slot)).then_some(slot)
            }
            Hold::Vacant { slot, .. } => Some(slot),
            Hold::Free => None,
        }
        .filter(missed)
    }

    /// The worker on the socket holds its seat and is ready.
    fn serves(&self, socket: &Socket) -> Option<Slot> {
        match socket.hold {
            Hold::Lent { worker, slot, listening: true } => {
                let ready = self.workers.get(&worker).is_some_and(Worker::is_ready);
                (ready && self.is_seated(worker, slot)).then_some(slot)
            }
            Hold::Lent { listening: false, .. } | Hold::Vacant { .. } | Hold::Free => None,
        }
    }

    /// The worker on the socket is about to be ready, or a worker is about to take the socket.
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

    /// A person may bring the socket's slot back later.
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
