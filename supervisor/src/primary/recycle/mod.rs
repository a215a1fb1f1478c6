//! Recycling: a worker that is well and has reached a limit is replaced like one slot of a rollout,
//! by a worker of the same generation.
//!
//! One worker at a time; the successor is ready before the old one gets no more connections. Not
//! while a job or a request waits, while a worker starts or leaves. `recycle_budget` bounds the
//! replacements of a minute, and the rule for crash loops (`max_restarts` within `restart_window`)
//! those of one slot for its memory or its liveness. A replacement is no failure and does not count
//! as one.

pub(super) mod state;

use std::cmp::Reverse;
use std::time::Duration;

use ipc::control::NoticeKind;

use self::state::Recycle;
use super::slots::restart_policy::backoff;
use super::slots::slot::Seat;
use super::worker::Worker;
use super::worker::end::{Cause, End};
use super::worker::limits::{Excess, Limits};
use super::{Job, Phase, Primary, Step};
use crate::base::ids::{Slot, WorkerId};
use crate::base::time::Time;
use crate::primary::messages;

/// The window of `recycle_budget`.
const MINUTE: Duration = Duration::from_secs(60);

impl Primary {
    /// The limits that a worker has drawn.
    pub(crate) fn limits_of(&self, worker: WorkerId) -> Option<Limits> {
        self.workers.get(&worker)?.limits
    }

    /// When the core must look at the limits again.
    pub(super) fn recycle_at(&self) -> Option<Time> {
        let old = self.seated_workers().filter_map(Worker::old_at);
        let coming = |at: &Time| Some(*at) > self.stepped;
        old.chain(self.recycling.again).filter(coming).min()
    }

    /// Begins to replace the worker that most needs it, if one may be replaced now.
    pub(super) fn recycle(&mut self, step: &mut Step<'_>) {
        self.recycling.again = None;
        if !self.may_recycle() {
            return;
        }
        let mut due: Vec<(Slot, WorkerId, Excess)> = self
            .wanted()
            .filter_map(|(slot, state)| {
                let worker = self.seated(state).filter(|worker| worker.can_be_succeeded())?;
                Some((slot, worker.id, worker.excess(step.now)?))
            })
            .collect();
        due.sort_by_key(|(_, id, excess)| (Reverse(excess.urgency()), *id));
        for (slot, id, excess) in due {
            match self.free_at(slot, id, excess, step) {
                None => return self.begin_recycle(slot, id, excess, step),
                Some(at) => {
                    let again = self.recycling.again.map_or(at, |other| other.min(at));
                    self.recycling.again = Some(again);
                }
            }
        }
    }

    fn may_recycle(&self) -> bool {
        let idle = self.job.is_none() && self.queue.is_empty() && self.merging.is_none();
        let busy = || {
            let starts = self.seated_workers().any(Worker::is_coming);
            starts || self.anyone_retires() || self.successor().is_some()
        };
        matches!(self.phase, Phase::Running) && idle && !busy()
    }

    /// When the worker may be replaced. `None`: now.
    fn free_at(
        &mut self,
        slot: Slot,
        id: WorkerId,
        excess: Excess,
        step: &mut Step<'_>,
    ) -> Option<Time> {
        let Self { recycling, slots, workers, serving, .. } = self;
        let (state, worker) = (slots.get_mut(&slot)?, workers.get(&id)?);
        if let Some(rest) = recycling.rests_until.filter(|at| *at > step.now) {
            return Some(rest);
        }
        let budget = serving.spec.recycle.budget;
        if let Some(at) = recycling.begun.free_at(step.now, budget, MINUTE) {
            if excess.may_recur() && !std::mem::replace(&mut recycling.said, true) {
                let message = messages::budget_spent(budget, &excess);
                step.publish(messages::about(worker, NoticeKind::Warning, message));
            }
            return Some(at);
        }
        if !excess.may_recur() {
            return None;
        }
        let policy = &worker.plan.spec.restart;
        let own = &mut state.own_loop;
        let free = own.begun.free_at(step.now, policy.max_restarts, policy.window);
        if free.is_some() && !std::mem::replace(&mut own.said, true) {
            let message = messages::recycling_does_not_help(own.begun.count(), policy, &excess);
            step.publish(messages::about(worker, NoticeKind::Warning, message));
        }
        free
    }

    fn begin_recycle(&mut self, slot: Slot, id: WorkerId, excess: Excess, step: &mut Step<'_>) {
        let (required, excused) = self.required(slot);
        let Self { workers, sockets, recycling, .. } = self;
        let Some(worker) = workers.get_mut(&id) else { return };
        worker.recycled = Some(excess);
        let message = messages::is_recycled(worker, &excess);
        step.publish(messages::about(worker, NoticeKind::WorkerRecycled, message));
        messages::excused(worker, &excused, sockets)
            .into_iter()
            .for_each(|said| step.publish(said));
        recycling.begun.note(step.now);
        recycling.said = false;
        let state = self.slot(slot);
        if excess.may_recur() {
            state.own_loop.said &= state.own_loop.begun.count() > 0;
            state.own_loop.begun.note(step.now);
        }
        let plan = state.plan.clone();
        self.start_successor(slot, plan, required, step);
        self.job = Some(Job::Recycle(Recycle { slot }));
    }

    /// Lets the successor take over when it is ready.
    pub(super) fn advance_recycle(&mut self, step: &mut Step<'_>) -> bool {
        let Some(Job::Recycle(Recycle { slot })) = &self.job else { return false };
        let slot = *slot;
        let successor = self.slots.get(&slot).and_then(|state| state.successor);
        let is_ready = successor.and_then(|id| self.workers.get(&id)).is_some_and(Worker::is_ready);
        if is_ready {
            self.commit(slot, step);
            self.recycled(slot);
        }
        is_ready
    }

    fn recycled(&mut self, slot: Slot) {
        self.recycling.done += 1;
        self.recycling.failures = 0;
        self.slot(slot).recycles += 1;
        self.job = None;
    }

    /// A seat was lost while a worker is replaced. If it is the one of that slot, its successor is
    /// the slot's next worker.
    pub(super) fn seat_lost_in_recycle(&mut self, worker: &Worker, end: End, step: &mut Step<'_>) {
        self.seat_failed(worker, end, step);
        let Some(Job::Recycle(Recycle { slot })) = &self.job else { return };
        if worker.slot != *slot {
            return;
        }
        self.job = None;
        let state = self.slot(worker.slot);
        match state.seat {
            Seat::Empty | Seat::Waiting { .. } => {
                if let Some(successor) = state.successor.take() {
                    state.seat = Seat::Held(successor);
                }
            }
            Seat::Held(_) | Seat::Errored { .. } | Seat::Stopped { .. } => {
                let successor = state.successor;
                if let Some(successor) = successor.and_then(|id| self.workers.get_mut(&id)) {
                    successor.kill(Cause::Told, step);
                }
            }
        }
    }

    /// The successor ended before it took over: the old worker serves on.
    pub(super) fn recycle_failed(&mut self, successor: &Worker, end: &End, step: &mut Step<'_>) {
        self.job = None;
        let Self { recycling, dice, slots, workers, .. } = self;
        let delay = dice.jitter(backoff(&successor.plan.spec.restart, recycling.failures));
        recycling.failures = recycling.failures.saturating_add(1);
        recycling.rests_until = Some(step.now + delay);
        let seat = slots.get(&successor.slot).map(|state| &state.seat);
        if let Some(Seat::Held(old)) = seat
            && let Some(old) = workers.get_mut(old)
        {
            old.recycled = None;
        }
        let message = messages::recycle_failed(&messages::why(successor, end), delay);
        step.publish(messages::about(successor, NoticeKind::Warning, message));
    }
}
