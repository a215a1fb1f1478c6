//! The workers, and for each one its piece of the snapshot. A piece is made anew only when its
//! worker may have changed, so a snapshot of hundreds of workers costs only what has changed.
//!
//! No caller can forget to say that a worker has changed: mutable access to it drops its piece.

use std::collections::BTreeMap;
use std::ops::Deref;

use serde_json::value::{RawValue, to_raw_value};

use super::specs::Specs;
use super::worker::ChildSnapshot;
use crate::base::ids::{ListenerId, Ticket, WorkerId};
use crate::policy::leftovers::Leftovers;
use crate::runtime::workers::{Asking, Child};

/// See the module.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Children {
    all: BTreeMap<WorkerId, Child>,
    pieces: BTreeMap<WorkerId, Box<RawValue>>,
    /// What the pieces call specs by.
    specs: Specs,
    /// Beyond so many, those that no worker has any more are looked for.
    most_specs: usize,
    /// The number of the last request for an address.
    tickets: u64,
    /// Workers whose main process has ended while others of its group live.
    pub(in crate::runtime) leftovers: Leftovers,
}

/// Specs that are kept although no worker may have them.
const SPARE_SPECS: usize = 8;

impl Children {
    /// Those of a predecessor, which gave `tickets` numbers to requests for addresses.
    pub(super) fn of(all: BTreeMap<WorkerId, Child>, tickets: u64) -> Self {
        Self { all, tickets, ..Self::default() }
    }

    /// The number of the last request for an address.
    pub(super) fn tickets(&self) -> u64 {
        self.tickets
    }

    /// A worker asks for an address, and waits for the core's answer to the number that its request
    /// gets. `None`: nobody knows the worker any more.
    pub(in crate::runtime) fn ask(&mut self, worker: WorkerId, asking: Asking) -> Option<Ticket> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.get_mut(&worker)?.asking.insert(ticket, asking);
        Some(ticket)
    }

    /// The request that the core answers.
    pub(in crate::runtime) fn take_asking(
        &mut self,
        worker: WorkerId,
        ticket: Ticket,
    ) -> Option<Asking> {
        self.get_mut(&worker)?.asking.remove(&ticket)
    }

    /// The requests for a socket of this listener, which is about to be closed.
    pub(in crate::runtime) fn take_asking_for(
        &mut self,
        listener: ListenerId,
    ) -> Vec<(WorkerId, Asking)> {
        let its = |(ticket, asking): (&Ticket, &Asking)| {
            (asking.listener() == listener).then_some(*ticket)
        };
        let of_child = |child: &Child| {
            let tickets = child.asking.iter().filter_map(its);
            tickets.map(|ticket| (child.id, ticket)).collect::<Vec<_>>()
        };
        let waiting: Vec<(WorkerId, Ticket)> = self.all.values().flat_map(of_child).collect();
        let taken = waiting.into_iter();
        taken.filter_map(|(worker, t)| Some((worker, self.take_asking(worker, t)?))).collect()
    }

    /// How many workers there are; hooks are none.
    pub(in crate::runtime) fn workers(&self) -> usize {
        self.all.values().filter(|child| !child.is_hook).count()
    }

    pub(in crate::runtime) fn get_mut(&mut self, worker: &WorkerId) -> Option<&mut Child> {
        self.pieces.remove(worker);
        self.all.get_mut(worker)
    }

    pub(in crate::runtime) fn insert(&mut self, worker: WorkerId, child: Child) -> Option<Child> {
        self.pieces.remove(&worker);
        self.all.insert(worker, child)
    }

    pub(in crate::runtime) fn remove(&mut self, worker: &WorkerId) -> Option<Child> {
        self.pieces.remove(worker);
        self.all.remove(worker)
    }

    /// The state of all of them, and the specs that it names.
    pub(super) fn snapshot(&mut self) -> serde_json::Result<(Vec<&RawValue>, &Specs)> {
        let anew = self.specs.0.len() > self.most_specs;
        if anew {
            self.specs.0.clear();
            self.pieces.clear();
        }
        for (worker, child) in &self.all {
            if let Some(piece) = self.pieces.get(worker) {
                debug_assert_eq!(
                    to_raw_value(&ChildSnapshot::of(child, &mut self.specs)?)?.get(),
                    piece.get(),
                    "a worker changed and its piece did not"
                );
                continue;
            }
            let piece = to_raw_value(&ChildSnapshot::of(child, &mut self.specs)?)?;
            self.pieces.insert(*worker, piece);
        }
        if anew {
            self.most_specs = 2 * self.specs.0.len() + SPARE_SPECS;
        }
        Ok((self.pieces.values().map(AsRef::as_ref).collect(), &self.specs))
    }
}

/// To look at them.
impl Deref for Children {
    type Target = BTreeMap<WorkerId, Child>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}
