//! How far a rollout is, slot by slot.

use std::collections::BTreeMap;

use ipc::control::{AppStatus, WorkerState};

/// How far one slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotProgress {
    /// A worker of the old generation serves it.
    Old,
    /// The new one starts, or the old one drains.
    Between,
    /// Only the new generation serves it.
    New,
}

/// How far each slot is, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) slots: Vec<SlotProgress>,
}

impl Progress {
    /// As the status of the app shows it.
    pub(crate) fn of(status: &AppStatus) -> Self {
        // Of each slot: whether there is an old worker, and whether a new one is ready.
        let mut slots: BTreeMap<u16, (bool, bool, bool)> = BTreeMap::new();
        for worker in &status.workers {
            let target = target(status, worker.pool.as_deref());
            let (old, coming, ready) = slots.entry(worker.slot).or_default();
            match worker.generation < target {
                true => *old = true,
                false if worker.state == WorkerState::Ready => *ready = true,
                false => *coming = true,
            }
        }
        let slots = slots.into_values().map(|slot| match slot {
            (false, _, true) => SlotProgress::New,
            (true, false, false) => SlotProgress::Old,
            _ => SlotProgress::Between,
        });
        Self { slots: slots.collect() }
    }

    /// How many slots the new generation serves alone.
    pub(crate) fn replaced(&self) -> usize {
        self.slots.iter().filter(|slot| **slot == SlotProgress::New).count()
    }
}

/// The generation that comes in a pool. The status has the one that serves, until the rollout is
/// over.
fn target(status: &AppStatus, pool: Option<&str>) -> u32 {
    let known = status.pools.iter().find(|one| Some(one.name.as_str()) == pool);
    let serving = known.map_or(status.generation, |pool| pool.generation);
    let of_pool = status.workers.iter().filter(|worker| worker.pool.as_deref() == pool);
    let generations = || of_pool.clone().map(|worker| worker.generation);
    match generations().max() {
        Some(newest) if newest > serving => newest,
        _ if generations().any(|generation| generation < serving) => serving,
        // No worker of it was started yet.
        _ => serving + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::targets::fake_primary as fake;
    use ipc::control::Status;

    #[test]
    fn slot_by_slot() {
        let mut status = fake::status("web", Status::Reloading);
        let worker = status.workers.remove(0);
        assert_eq!(Progress::of(&status).slots, []);
        let mut add = |slot, generation, state| {
            let mut worker = worker.clone();
            (worker.slot, worker.generation, worker.state) = (slot, generation, state);
            status.workers.push(worker);
        };
        add(0, 2, WorkerState::Ready);
        add(1, 1, WorkerState::Draining);
        add(1, 2, WorkerState::Ready);
        add(2, 1, WorkerState::Ready);
        add(2, 2, WorkerState::Starting);
        add(3, 1, WorkerState::Ready);
        let progress = Progress::of(&status);
        use SlotProgress::{Between, New, Old};
        assert_eq!(progress.slots, [New, Between, Between, Old]);
        assert_eq!(progress.replaced(), 1);
        status.workers.retain(|worker| worker.generation == 1);
        assert_eq!(Progress::of(&status).replaced(), 0, "nothing has begun");
    }
}
