//! A failed rollout goes back the way it came: the same replacement, slot by slot, to the plan that
//! served before, until no worker of the failed generation is left.

use ipc::control::{FailureKind, Notice, NoticeKind, Reply};

use super::state::{Course, Failure, Rollout};
use crate::base::ids::{Slot, WorkerId};
use crate::primary::held_back::HeldBack;
use crate::primary::messages;
use crate::primary::slots::slot::{Seat, SlotState};
use crate::primary::worker::Worker;
use crate::primary::worker::end::{Cause, End};
use crate::primary::{Job, Primary, Step};

impl Primary {
    /// Turns a failed rollout round.
    pub(in crate::primary) fn turn_back(&mut self, failure: Failure, step: &mut Step<'_>) {
        let Some(Job::Rollout(rollout)) = &mut self.job else { return };
        let place = rollout.place_of(&failure);
        let message =
            messages::turning_back(rollout.generation(), place.as_deref(), &failure.reason);
        step.publish(Notice::of_app(NoticeKind::Warning, message));
        let (slot, reason) = (failure.slot, failure.reason.clone());
        rollout.course = Course::Back { failure, restored: Vec::new() };
        let Self { slots, workers, .. } = self;
        for id in slots.values().filter_map(|state| state.successor) {
            if let Some(worker) = workers.get_mut(&id) {
                worker.kill(Cause::Told, step);
            }
        }
        let serving = self.serving.clone();
        if !self.switch_back(step) {
            // A switch has taken these from the old generation, which is not warm any more.
            let gone = |slot: &Slot| self.slots.get(slot).is_none_or(|state| state.leaving);
            let vacated: Vec<Slot> = serving.slots().map(|(slot, _)| slot).filter(gone).collect();
            self.add_slots(&serving);
            if let Some(Job::Rollout(rollout)) = &mut self.job
                && let Course::Back { restored, .. } = &mut rollout.course
            {
                restored.extend(vacated);
            }
            self.dismiss(&serving, step);
        }
        self.hook_rollback(slot, &reason, step);
    }

    /// A worker did not apply the shared values. For a worker that the rollout brought, that is a
    /// failure.
    pub(in crate::primary) fn values_refused(
        &mut self,
        id: WorkerId,
        reason: &str,
        step: &mut Step<'_>,
    ) {
        let (Some(Job::Rollout(rollout)), Some(worker)) = (&self.job, self.workers.get(&id)) else {
            return;
        };
        let comes = matches!(rollout.course, Course::Forward);
        if comes && worker.plan.generation == rollout.generation() {
            let (slot, reason) = (worker.slot, messages::refused_values(reason));
            self.turn_back(Failure { slot, reason, last_lines: Vec::new() }, step);
        }
    }

    /// A successor ended before it took over.
    pub(in crate::primary) fn successor_lost(
        &mut self,
        worker: &Worker,
        end: End,
        step: &mut Step<'_>,
    ) {
        if matches!(self.job, Some(Job::Recycle(_))) {
            return self.recycle_failed(worker, &end, step);
        }
        let Some(Job::Rollout(rollout)) = &self.job else { return };
        let is_new = worker.plan.generation == rollout.generation();
        match rollout.course {
            // A successor that was to replace a worker of the same generation.
            Course::Forward if !is_new => {}
            Course::Forward => self.turn_back(Self::failure(worker, end), step),
            Course::Back { .. } if !is_new => self.cannot_restore(worker, end, step),
            Course::Back { .. } | Course::Opening | Course::Shrinking => {}
        }
    }

    pub(in crate::primary) fn advance_back(&mut self, step: &mut Step<'_>) -> bool {
        let Some(Job::Rollout(rollout)) = &self.job else { return false };
        let failed = rollout.generation();
        if let Some((slot, _)) = self.successor() {
            return self.commit_if_due(slot, step);
        }
        let is_new = |(_, state): &(Slot, &SlotState)| state.plan.generation == failed;
        let next = self.wanted().find(is_new).map(|(slot, _)| slot);
        let old = |slot| Some((slot, self.serving.plan_of(slot)?));
        if let Some((slot, plan)) = next.and_then(old) {
            let required = self.slot(slot).served_before.clone();
            self.start_successor(slot, plan, required, step);
            return false;
        }
        if self.awaits_restored() { false } else { self.finish_rollback(step) }
    }

    /// Whether the worker of a restored slot is still starting. The rollback waits for each one
    /// once.
    fn awaits_restored(&mut self) -> bool {
        let Self { job, slots, workers, .. } = self;
        let Some(Job::Rollout(rollout)) = job else { return false };
        let Course::Back { restored, .. } = &mut rollout.course else { return false };
        restored.retain(|slot| match slots.get(slot).map(|state| &state.seat) {
            Some(Seat::Empty) => true,
            Some(Seat::Held(worker)) => workers.get(worker).is_some_and(Worker::is_coming),
            Some(Seat::Waiting { .. } | Seat::Errored { .. } | Seat::Stopped { .. }) | None => {
                false
            }
        });
        !restored.is_empty()
    }

    fn finish_rollback(&mut self, step: &mut Step<'_>) -> bool {
        let Some(Job::Rollout(rollout)) = self.job.take() else { return false };
        for listener in self.sockets.first_of(rollout.generation()) {
            self.close_if_unserved(listener, step);
        }
        let Course::Back { failure, .. } = &rollout.course else { return false };
        let place = rollout.place_of(failure);
        let failed = rollout.generation();
        let is_back = self.is_back_in(&rollout);
        let before = rollout.slot.and_then(|slot| self.serving.plan_of(slot));
        let serves = before.as_ref().unwrap_or_else(|| rollout.leading(&self.serving)).generation;
        let reason =
            messages::rolled_back(&self.serving, failed, serves, place.as_deref(), &failure.reason);
        if let Some(tried) = rollout.to.plan_of(failure.slot) {
            let serves = self.serving.plan_of(failure.slot);
            let serves = serves.as_ref().unwrap_or(&self.serving);
            self.held_back = HeldBack::of(&tried, serves, step.now);
        }
        self.tell_rolled_back(&reason, step);
        let aborted = match is_back {
            true => Reply::done(reason.clone()),
            false => {
                let reason = messages::rollout::not_everywhere(&reason);
                messages::failed(FailureKind::Failed, reason, &failure.last_lines)
            }
        };
        step.answer_all(&rollout.aborting, &aborted);
        let reply = messages::failed(FailureKind::RolledBack, reason, &failure.last_lines);
        step.answer_all(&rollout.clients, &reply);
        true
    }

    /// Whether workers that are not of this rollout serve all slots that it was to replace.
    fn is_back_in(&self, rollout: &Rollout) -> bool {
        let is_old =
            |worker: &Worker| worker.is_ready() && worker.plan.generation != rollout.generation();
        let serves = |state: &SlotState| state.is_done() || self.seated(state).is_some_and(is_old);
        self.wanted().all(|(slot, state)| !rollout.is_about(slot) || serves(state))
    }

    /// The new worker of a replaced slot is gone. A worker of the old generation takes the seat if
    /// one is still there; if not, the primary starts one.
    pub(in crate::primary) fn bring_back(&mut self, slot: Slot, step: &mut Step<'_>) {
        let Some(serving) = self.serving.plan_of(slot) else { return };
        let Self { slots, workers, job, .. } = self;
        let Some(state) = slots.get_mut(&slot).filter(|state| !state.leaving) else { return };
        if matches!(state.seat, Seat::Held(_)) {
            return;
        }
        let is_old = |worker: &Worker| worker.plan.generation == serving.generation;
        let successor = state.successor.take_if(|id| workers.get(id).is_some_and(is_old));
        let mut recall = |id: &WorkerId| {
            workers.get_mut(id).is_some_and(|worker| is_old(worker) && worker.recall(step))
        };
        let returns = successor.or_else(|| state.retiring.iter().copied().find(|id| recall(id)));
        state.served = state.served_before.take();
        state.late.clear();
        state.seat = match returns {
            Some(worker) => {
                state.retiring.remove(&worker);
                Seat::Held(worker)
            }
            None => Seat::Empty,
        };
        state.plan = serving;
        if let Some(Job::Rollout(rollout)) = job
            && let Course::Back { restored, .. } = &mut rollout.course
        {
            restored.push(slot);
        }
    }

    /// The old spec does not start any more either. A new worker that is ready serves on, until it
    /// ends or the app is changed: it may be worse than the old ones were, and is better than none.
    /// Any other one goes, and the restart policy does what it can with the old spec.
    fn cannot_restore(&mut self, worker: &Worker, end: End, step: &mut Step<'_>) {
        let Self { slots, workers, .. } = self;
        if let Some(state) = slots.get_mut(&worker.slot)
            && let Seat::Held(new) = state.seat
            && workers.get(&new).is_some_and(Worker::is_ready)
        {
            state.plan = worker.plan.clone();
            step.publish(messages::unrestored(worker, &end));
            return;
        }
        let state = self.slot(worker.slot);
        let held = state.seat.holder();
        state.retiring.extend(held);
        state.plan = worker.plan.clone();
        state.served = state.served_before.take();
        state.late.clear();
        self.seat_failed(worker, end, step);
        self.steer(step);
        if let Some(new) = held {
            self.retire(new, step);
        }
    }
}
