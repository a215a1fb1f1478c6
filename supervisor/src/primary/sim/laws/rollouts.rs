//! The laws of a change under way: what a rollout takes away, which generation has which slot, and
//! what a pause, a switch and a pool keep to.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ids::{PoolIndex, Slot};
use crate::primary::jobs::state::Course;
use crate::primary::sim::Sim;
use crate::primary::slots::slot::Seat;
use crate::primary::worker::Worker;
use crate::primary::worker::end::Cause;
use crate::primary::worker::state::State;
use crate::primary::{Job, Phase};

impl Sim {
    /// A rollout never takes away more workers than those that failed by themselves.
    pub(super) fn check_floor(&mut self) {
        let primary = &self.primary;
        let ready = primary.ready_count();
        let Some(Job::Rollout(rollout)) = &primary.job else {
            self.ledger.rollout = None;
            return;
        };
        let generation = rollout.generation();
        // For each pool: slots that it drops may have been the ready ones.
        let floor = || {
            let is_kept = |slot: &Slot| primary.serving.wants(*slot) && rollout.to.wants(*slot);
            let of = |pool_index| {
                let slots =
                    || primary.wanted().filter(move |(slot, _)| slot.pool_index() == pool_index);
                let ready = slots().filter(|(_, state)| primary.is_ready(state)).count();
                ready.min(slots().filter(|(slot, _)| is_kept(slot)).count())
            };
            primary.serving.all().map(|(pool_index, _)| of(pool_index)).sum()
        };
        match self.ledger.rollout {
            Some((of, floor, failures)) if of == generation => {
                let is_failing = |worker: &&Worker| {
                    matches!(worker.state, State::Killing { cause: Cause::Failed(_), .. })
                };
                let failing = primary.workers.values().filter(is_failing).count();
                assert!(
                    ready + failures + failing >= floor,
                    "{ready} ready, {floor} when the rollout began, {failures} failed"
                );
            }
            Some(_) | None => {
                self.ledger.rollout = Some((generation, floor(), 0));
            }
        }
    }

    /// Every seated worker runs the plan that serves, unless it is being replaced. A failed
    /// generation takes over no more slots.
    pub(super) fn check_generations(&mut self) {
        let primary = &self.primary;
        let of = |generation| {
            let runs = |worker: &Worker| worker.plan.generation == generation;
            let seated = primary.seated_workers();
            seated.filter(|worker| runs(worker)).count()
        };
        let failed = match &primary.job {
            Some(Job::Rollout(rollout)) if matches!(rollout.course, Course::Back { .. }) => {
                Some(of(rollout.generation()))
            }
            Some(Job::Rollout(_) | Job::Hard(_)) => None,
            Some(Job::Scale(_) | Job::Recycle(_)) | None => {
                let settled = matches!(primary.phase, Phase::Running);
                let is_old =
                    |worker: &Worker| primary.serving.replaces(worker.slot, worker.plan.generation);
                let seated = primary.seated_workers();
                let strangers = seated.filter(|worker| is_old(worker));
                let strangers: BTreeSet<Slot> = strangers.map(|worker| worker.slot).collect();
                self.ledger.unrestored.retain(|slot| strangers.contains(slot));
                let excused = strangers == self.ledger.unrestored;
                assert!(!settled || excused, "a seat runs what does not serve");
                None
            }
        };
        if let (Some(before), Some(now)) = (self.ledger.failed, failed) {
            assert!(now <= before, "a failed generation took over a slot");
        }
        self.ledger.failed = failed;
    }

    /// A switch has no half: before it no slot has the new generation, and after it all have. The
    /// workers that stay are ready and have no seat.
    pub(super) fn check_switch(&self) {
        let primary = &self.primary;
        if !matches!(primary.phase, Phase::Running) {
            return;
        }
        if let Some(Job::Rollout(rollout)) = &primary.job
            && let Some(at_once) = rollout.at_once
            && matches!(rollout.course, Course::Forward)
        {
            let generation = rollout.generation();
            for worker in primary.seated_workers() {
                let is_new = worker.plan.generation == generation;
                assert_eq!(is_new, at_once.switched, "worker {} in a switch", worker.id);
            }
        }
        for (slot, state) in &primary.slots {
            let Some(id) = state.warm else { continue };
            let warm = primary.warm.as_ref().expect("a generation that stays");
            let worker = &primary.workers[&id];
            assert!(state.seat != Seat::Held(id), "worker {id} stays and serves slot {slot}");
            assert!(!warm.planned.replaces(*slot, worker.plan.generation), "worker {id} is new");
            let dies = matches!(worker.state, State::Killing { .. });
            assert!(worker.is_ready() || dies, "worker {id} stays and is not ready");
        }
        let busy = match &primary.job {
            Some(Job::Rollout(rollout)) => rollout.at_once.is_none_or(|it| !it.switched),
            Some(Job::Scale(_) | Job::Hard(_)) => true,
            Some(Job::Recycle(_)) | None => false,
        };
        assert!(!busy || primary.warm.is_none(), "a generation stays during another change");
    }

    /// A paused rollout begins with no further slot, and does not end by itself.
    pub(super) fn check_pause(&mut self) {
        let primary = &self.primary;
        let before = self.ledger.paused.take();
        let Some(Job::Rollout(rollout)) = &primary.job else { return };
        let Some(until) = rollout.paused_until() else { return };
        assert!(until > self.now, "a pause has no end");
        let generation = rollout.generation();
        let workers = primary.workers.values();
        let new = workers.filter(|worker| worker.plan.generation == generation);
        let begun: BTreeSet<Slot> = new.map(|worker| worker.slot).collect();
        let mut known = begun.clone();
        if let Some((of, earlier)) = before.filter(|(of, _)| *of == generation) {
            assert!(begun.is_subset(&earlier), "generation {of} is paused and takes another slot");
            known.extend(earlier);
        }
        self.ledger.paused = Some((generation, known));
    }

    /// No two pools share a range of slots, and a job for one pool changes no other.
    pub(super) fn check_pools(&self) {
        let primary = &self.primary;
        let mut names: BTreeMap<PoolIndex, &str> = BTreeMap::new();
        let plans = primary.slots.iter().map(|(slot, state)| (slot, &state.plan));
        let plans = plans.chain(primary.workers.values().map(|w| (&w.slot, &w.plan)));
        for (slot, plan) in plans {
            let name = plan.spec.pool();
            let known = *names.entry(slot.pool_index()).or_insert(name);
            assert_eq!(known, name, "two pools have slot {slot}");
            assert!(plan.spec.pools.is_empty() || slot.pool_index() == PoolIndex(0));
        }
        if let Some(Job::Rollout(rollout)) = &primary.job
            && let Some(only) = rollout.only
        {
            let touched = primary.workers().find(|(_, slot, generation)| {
                *generation == rollout.generation() && slot.pool_index() != only
            });
            assert_eq!(touched, None, "a reload of one pool has touched another");
        }
    }
}
