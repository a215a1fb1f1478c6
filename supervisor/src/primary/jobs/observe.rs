//! What is watched of the workers that a rollout has brought, until it ends: besides their lives
//! (`rollback`), what their probes say.

use config::spec::HookKind;

use super::state::{Check, Course, Failure};
use crate::base::ids::{PoolIndex, Slot, WorkerId};
use crate::base::time::Time;
use crate::primary::messages::probes;
use crate::primary::slots::slot::Seat;
use crate::primary::worker::Worker;
use crate::primary::{Job, Primary, Step};

impl Primary {
    /// Turns the rollout round if a probe of one of its ready workers fails.
    pub(in crate::primary) fn observe(&mut self, step: &mut Step<'_>) -> bool {
        let Some((slot, id, reason)) = self.failing() else { return false };
        self.turn_back(Failure { slot, reason, last_lines: Vec::new() }, step);
        self.take_predecessor_back(slot, id, step);
        true
    }

    /// A ready worker of the rollout under way whose probe fails, and which.
    fn failing(&self) -> Option<(Slot, WorkerId, String)> {
        let Some(Job::Rollout(rollout)) = &self.job else { return None };
        let generation = match rollout.course {
            Course::Forward => rollout.generation(),
            Course::Opening | Course::Shrinking | Course::Back { .. } => return None,
        };
        let fails = |worker: &Worker| {
            let is_new = worker.plan.generation == generation && worker.is_ready();
            let probes = [("readiness", &worker.readiness), ("liveness", &worker.liveness)];
            let failing = probes.into_iter().find(|(_, health)| is_new && health.fails());
            let (probe, health) = failing?;
            let counts = probe == "liveness" || self.is_alone_unwell(worker);
            counts.then(|| probes::failed(probe, health))
        };
        self.workers.values().find_map(|worker| Some((worker.slot, worker.id, fails(worker)?)))
    }

    /// Whether the readiness of this worker says something about its code. It does not if the
    /// workers that it is to replace fail as well: what they need is then down, a database for
    /// example.
    fn is_alone_unwell(&self, worker: &Worker) -> bool {
        let is_old = |other: &&Worker| {
            let same_pool = other.slot.pool_index() == worker.slot.pool_index();
            same_pool && other.is_ready() && other.plan.generation != worker.plan.generation
        };
        let mut old = self.workers.values().filter(is_old).peekable();
        old.peek().is_none() || old.any(|other| other.readiness.failures == 0)
    }

    /// Whether the next slot waits for the observation of a canary: where `observe_check` is set,
    /// for the end of its time and then for the check.
    pub(in crate::primary) fn awaits_canary(&mut self, step: &mut Step<'_>) -> bool {
        let Some(Job::Rollout(rollout)) = &self.job else { return false };
        let generation = rollout.generation();
        let canaries: Vec<(PoolIndex, Time)> =
            rollout.observed_until.iter().map(|(pool, until)| (*pool, *until)).collect();
        let mut waits = false;
        for (pool, until) in canaries {
            let Some(Job::Rollout(rollout)) = &self.job else { return false };
            let begun = rollout.checks.get(&pool).copied();
            let of_pool = |worker: &&Worker| {
                worker.slot.pool_index() == pool && worker.plan.generation == generation
            };
            let canary = self.workers.values().filter(|worker| worker.is_ready()).find(of_pool);
            let check = |worker: &Worker| worker.plan.spec.hooks.has(HookKind::ObserveCheck);
            let canary = canary.filter(|worker| check(worker)).map(|worker| worker.id);
            let Some(canary) = canary.filter(|_| begun.is_none()) else {
                waits |= matches!(begun, Some(Check::Runs(_)));
                continue;
            };
            waits = true;
            if until <= step.now
                && let Some(hook) = self.check_canary(canary, step)
                && let Some(Job::Rollout(rollout)) = &mut self.job
            {
                rollout.checks.insert(pool, Check::Runs(hook));
            }
        }
        waits
    }

    /// Whether the rollout under way goes on when this check has succeeded.
    pub(in crate::primary) fn awaits_check(&self, id: WorkerId) -> bool {
        let Some(Job::Rollout(rollout)) = &self.job else { return false };
        let goes_on = matches!(rollout.course, Course::Forward);
        goes_on && rollout.checks.values().any(|check| *check == Check::Runs(id))
    }

    /// Notes that a check has ended. Whether the rollout under way goes by it.
    pub(in crate::primary) fn takes_check(&mut self, id: WorkerId) -> bool {
        let is_awaited = self.awaits_check(id);
        if let Some(Job::Rollout(rollout)) = &mut self.job {
            let its = rollout.checks.values_mut().filter(|check| **check == Check::Runs(id));
            its.for_each(|check| *check = Check::Ended);
        }
        is_awaited
    }

    /// If the predecessor of a worker still drains, it serves again at once. Otherwise the rollback
    /// starts another one, and the worker serves until that is ready.
    fn take_predecessor_back(&mut self, slot: Slot, id: WorkerId, step: &mut Step<'_>) {
        let Some(serves) = self.serving.plan_of(slot).map(|plan| plan.generation) else { return };
        let Self { slots, workers, .. } = self;
        let Some(state) = slots.get_mut(&slot).filter(|state| state.seat == Seat::Held(id)) else {
            return;
        };
        let returns = |old: &WorkerId| {
            let old = workers.get(old).filter(|old| old.plan.generation == serves);
            old.is_some_and(Worker::can_be_recalled)
        };
        if !state.leaving && state.retiring.iter().any(returns) {
            state.retiring.insert(id);
            state.seat = Seat::Empty;
            self.bring_back(slot, step);
            self.steer(step);
            self.retire(id, step);
        }
    }
}
