//! A reload: each slot's worker is replaced by one of the next generation, or nothing changes.
//!
//! Slot by slot: a successor starts beside the worker that serves; it becomes ready (the first one
//! of each pool is the canary and must also live on for a while); new connections go to it; the old
//! one drains and goes. Only then comes the next slot, so there is never more than one worker too
//! many. Slots that the new spec adds come last, slots that it drops go last.
//!
//! A rollout of one slot is the same, with a generation that only this slot gets.
//!
//! Anything that goes wrong before all serve, and before every canary was observed for long enough,
//! turns the rollout round: see `rollback`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipc::control::{FailureKind, Notice, NoticeKind, Reply};

use super::state::{AtOnce, Course, Rollout};
use crate::base::ids::{ClientId, ListenerId, PoolIndex, Slot, WorkerId};
use crate::base::time::Time;
use crate::primary::action::{Action, ReloadOutcome};
use crate::primary::messages;
use crate::primary::plan::Plan;
use crate::primary::slots::pools::Pools;
use crate::primary::slots::restart_policy::History;
use crate::primary::slots::slot::{Seat, SlotState};
use crate::primary::text;
use crate::primary::worker::Worker;
use crate::primary::worker::end::End;
use crate::primary::{Job, Primary, Step};

/// The longest time for which a canary is watched because it took so long to become ready.
const WATCHED_AT_MOST: Duration = Duration::from_secs(10);

/// What a rollout replaces, and in how many steps.
#[derive(Debug, Default)]
pub(in crate::primary) struct Extent {
    /// This pool alone.
    pub(in crate::primary) only: Option<PoolIndex>,
    /// The worker of this slot alone.
    pub(in crate::primary) slot: Option<Slot>,
    /// All slots at once.
    pub(in crate::primary) at_once: Option<AtOnce>,
}

impl Primary {
    pub(in crate::primary) fn begin_rollout(
        &mut self,
        to: Pools,
        extent: Extent,
        clients: Vec<ClientId>,
        step: &mut Step<'_>,
    ) {
        let Extent { only, slot, at_once } = extent;
        let hindered = self.owns_unix_sockets(&to).or_else(|| self.owns_unseen_sockets(&to));
        let hindered = hindered.or_else(|| self.cannot_switch().filter(|_| at_once.is_some()));
        if let Some(reason) = hindered {
            // The new code is not tried, because that alone would do harm.
            let reason = messages::reload_refused(&self.serving, &reason);
            return self.turn_down(FailureKind::RolledBack, reason, &clients, step);
        }
        let course = if self.must_open(&to) {
            step.act(Action::OpenListeners { spec: to.spec.clone() });
            Course::Opening
        } else {
            Course::Forward
        };
        let rollout = Rollout {
            clients,
            to,
            only,
            slot,
            began: step.now,
            replaced: 0,
            observed_until: BTreeMap::new(),
            checks: BTreeMap::new(),
            cut: 0,
            course,
            at_once,
            pause: None,
            aborted: None,
            aborting: Vec::new(),
        };
        let (before, after) = (rollout.leading(&self.serving), rollout.leading(&rollout.to));
        step.publish(match slot {
            Some(slot) => messages::worker_replacement_started(&self.serving, slot),
            None => messages::reload_started(before, after),
        });
        self.job = Some(Job::Rollout(Box::new(rollout)));
    }

    /// A reload has ended without its generation.
    pub(in crate::primary) fn tell_rolled_back(&mut self, reason: &str, step: &mut Step<'_>) {
        self.last_reload = Some(reason.to_owned());
        step.act(Action::ReloadEnded { outcome: ReloadOutcome::RolledBack });
        step.publish(Notice::of_app(NoticeKind::ReloadRolledBack, reason.to_owned()));
    }

    /// A rollout ends before any worker of it was started.
    fn turn_down(
        &mut self,
        kind: FailureKind,
        reason: String,
        clients: &[ClientId],
        step: &mut Step<'_>,
    ) {
        self.tell_rolled_back(&reason, step);
        step.answer_all(clients, &messages::failed(kind, reason, &[]));
    }

    /// The addresses that the new spec adds are open, or cannot be.
    pub(in crate::primary) fn rollout_opened(
        &mut self,
        result: Result<(), String>,
        step: &mut Step<'_>,
    ) {
        let Some(Job::Rollout(rollout)) = &mut self.job else { return };
        match result {
            Ok(()) => rollout.course = Course::Forward,
            Err(reason) => {
                let leading = rollout.leading(&self.serving);
                let reason = messages::reload_refused(leading, &reason);
                let clients = std::mem::take(&mut rollout.clients);
                let aborting = std::mem::take(&mut rollout.aborting);
                self.job = None;
                step.answer_all(&aborting, &Reply::done(reason.clone()));
                self.turn_down(FailureKind::Failed, reason, &clients, step);
            }
        }
    }

    pub(in crate::primary) fn advance_rollout(&mut self, step: &mut Step<'_>) -> bool {
        if self.observe(step) || self.abort_if_due(step) {
            return true;
        }
        let Some(Job::Rollout(rollout)) = &self.job else { return false };
        if self.anyone_retires() {
            return false;
        }
        match rollout.course {
            Course::Opening => false,
            Course::Forward if rollout.switches() => {
                self.advance_at_once(&rollout.to.clone(), step)
            }
            Course::Forward => self.advance_forward(rollout.to.clone(), step),
            Course::Shrinking => self.finish_rollout(step),
            Course::Back { .. } => self.advance_back(step),
        }
    }

    fn advance_forward(&mut self, to: Pools, step: &mut Step<'_>) -> bool {
        if let Some((slot, _)) = self.successor() {
            return self.commit_if_due(slot, step);
        }
        if self.awaits_canary(step) || self.is_paused() {
            return false;
        }
        let is_old = |(slot, state): &(Slot, &SlotState)| {
            self.serving.wants(*slot) && to.replaces(*slot, state.plan.generation)
        };
        let next = self.wanted().find(is_old).map(|(slot, _)| slot);
        if let Some((slot, plan)) = next.and_then(|slot| Some((slot, to.plan_of(slot)?))) {
            let (required, excused) = self.required(slot);
            if let Some(worker) = self.slots.get(&slot).and_then(|state| self.seated(state))
                && let Some(notice) = messages::excused(worker, &excused, &self.sockets)
            {
                step.publish(notice);
            }
            self.start_successor(slot, plan, required, step);
            return false;
        }
        self.add_slots(&to);
        // A worker that has left of its own accord and has no successor holds nothing up.
        let Some(Job::Rollout(rollout)) = &self.job else { return false };
        let generation = rollout.generation();
        let is_new = |state: &SlotState| state.plan.generation == generation;
        let comes = |state: &SlotState| state.has_hope() && !self.is_ready(state);
        if self.wanted().any(|(_, state)| is_new(state) && comes(state)) {
            return false;
        }
        if rollout.observed_until().is_some_and(|until| until > step.now) {
            return false;
        }
        self.serving = to.clone();
        let cools = self.settle_warm(step);
        if (self.dismiss(&to, step) || cools)
            && let Some(Job::Rollout(rollout)) = &mut self.job
        {
            rollout.course = Course::Shrinking;
            return true;
        }
        self.finish_rollout(step)
    }

    fn finish_rollout(&mut self, step: &mut Step<'_>) -> bool {
        let Some(Job::Rollout(rollout)) = self.job.take() else { return false };
        self.sweep_later(step.now);
        let took = text::span(step.now.since(rollout.began));
        let leading = rollout.leading(&self.serving);
        let message = match rollout.slot {
            Some(slot) => messages::worker_replaced(&self.serving, slot, rollout.cut, &took),
            None => messages::reload_done(leading, rollout.replaced, rollout.cut, &took),
        };
        let message = message + &self.stays_warm(step.now);
        self.last_reload = Some(message.clone());
        if rollout.slot.is_none() {
            self.held_back = None;
        }
        step.act(Action::ReloadEnded { outcome: ReloadOutcome::Done });
        step.publish(Notice::of_app(NoticeKind::ReloadDone, message.clone()));
        let reply = Reply::Done { message, cut: rollout.cut };
        step.answer_all(&rollout.clients, &reply);
        true
    }

    /// Where the successor of a slot must listen: wherever the worker does that it replaces. An
    /// address that this one bound long after its start is required only if every other ready
    /// worker of the pool serves it, too; those that are not come second.
    pub(in crate::primary) fn required(
        &self,
        slot: Slot,
    ) -> (Option<BTreeSet<ListenerId>>, BTreeSet<ListenerId>) {
        let Some(state) = self.slots.get(&slot) else { return (None, BTreeSet::new()) };
        let Some(served) = &state.served else { return (None, BTreeSet::new()) };
        let others: Vec<&BTreeSet<ListenerId>> = self
            .wanted()
            .filter(|(other, state)| {
                *other != slot && other.pool_index() == slot.pool_index() && self.is_ready(state)
            })
            .filter_map(|(_, state)| state.served.as_ref())
            .collect();
        let by_all = |listener: &ListenerId| {
            !others.is_empty() && others.iter().all(|served| served.contains(listener))
        };
        let excused = |listener: &ListenerId| state.late.contains(listener) && !by_all(listener);
        let (excused, required) = served.iter().copied().partition(excused);
        (Some(required), excused)
    }

    pub(in crate::primary) fn start_successor(
        &mut self,
        slot: Slot,
        plan: Plan,
        required: Option<BTreeSet<ListenerId>>,
        step: &mut Step<'_>,
    ) {
        let worker = self.spawn(slot, plan, required, step);
        self.slot(slot).successor = Some(worker);
    }

    /// The worker that will take over a slot; there is at most one.
    pub(in crate::primary) fn successor(&self) -> Option<(Slot, WorkerId)> {
        self.slots.iter().find_map(|(slot, state)| Some((*slot, state.successor?)))
    }

    /// When the successor may take over, if it is ready.
    pub(in crate::primary) fn commit_at(&self, rollout: &Rollout) -> Option<Time> {
        if rollout.switches() && matches!(rollout.course, Course::Forward) {
            return self.switch_at(rollout);
        }
        let (slot, id) = self.successor()?;
        let worker = self.workers.get(&id).filter(|worker| worker.is_ready())?;
        let seat = &self.slots.get(&slot)?.seat;
        let first = !rollout.observed_until.contains_key(&slot.pool_index());
        let is_canary = match rollout.course {
            Course::Forward => first && matches!(seat, Seat::Held(_)),
            Course::Opening | Course::Shrinking | Course::Back { .. } => false,
        };
        let since = worker.ready_since?;
        Some(if is_canary { since + worker.probation(since) } else { since })
    }

    pub(in crate::primary) fn commit_if_due(&mut self, slot: Slot, step: &mut Step<'_>) -> bool {
        let Some(Job::Rollout(rollout)) = &self.job else { return false };
        let due = self.commit_at(rollout).is_some_and(|at| at <= step.now);
        if due {
            self.commit(slot, step);
        }
        due
    }

    /// The successor takes over: new connections go to it first, then the old worker may drain.
    pub(in crate::primary) fn commit(&mut self, slot: Slot, step: &mut Step<'_>) {
        if let Some(old) = self.seat_successor(slot, step) {
            self.slot(slot).retiring.insert(old);
            self.steer(step);
            self.retire(old, step);
        }
    }

    /// Gives the seat to the successor. Returns the worker that had it; nothing is steered yet.
    pub(in crate::primary) fn seat_successor(
        &mut self,
        slot: Slot,
        step: &mut Step<'_>,
    ) -> Option<WorkerId> {
        let id = self.slot(slot).successor.take()?;
        let worker = self.workers.get(&id)?;
        let (plan, late, bound) = (worker.plan.clone(), worker.late.clone(), worker.listens_now());
        let recycles = matches!(self.job, Some(Job::Recycle(_)));
        let from = match self.slots.get(&slot).map(|state| &state.seat) {
            Some(Seat::Held(old)) if recycles => Some(*old),
            Some(_) | None => None,
        };
        step.publish(messages::slot_replaced(worker, from));
        let ready_since = worker.ready_since;
        if let Some(Job::Rollout(rollout)) = &mut self.job
            && matches!(rollout.course, Course::Forward)
        {
            rollout.replaced += 1;
            let until = ready_since.unwrap_or(step.now) + plan.spec.times.observe;
            rollout.observed_until.entry(slot.pool_index()).or_insert(until);
        }
        let state = self.slot(slot);
        state.plan = plan;
        state.served_before = state.served_early();
        (state.served, state.late) = (Some(bound), late);
        if !recycles {
            state.history = History::default();
        }
        state.history.became_ready();
        self.founding = false;
        std::mem::replace(&mut self.slot(slot).seat, Seat::Held(id)).holder()
    }

    /// A seat was lost while a rollout runs.
    pub(in crate::primary) fn seat_lost_in_rollout(
        &mut self,
        worker: &Worker,
        end: End,
        step: &mut Step<'_>,
    ) {
        let Some(Job::Rollout(rollout)) = &self.job else { return };
        let slot = worker.slot;
        let is_new = worker.plan.generation == rollout.generation();
        match &rollout.course {
            Course::Forward if is_new && !worker.left_well(&end, step.now) => {
                self.turn_back(Self::failure(worker, end), step);
                self.bring_back(slot, step);
            }
            Course::Back { .. } if is_new => self.bring_back(slot, step),
            Course::Forward if rollout.switches() => self.seat_failed(worker, end, step),
            Course::Forward if self.commit_at(rollout).is_some() && self.is_succeeded(slot) => {
                self.commit(slot, step);
            }
            Course::Opening | Course::Forward | Course::Shrinking | Course::Back { .. } => {
                self.seat_failed(worker, end, step);
            }
        }
    }

    fn is_succeeded(&self, slot: Slot) -> bool {
        self.successor().is_some_and(|(of, _)| of == slot)
    }
}

impl Worker {
    /// How long it must live as a canary after it is ready: what took long to start takes long to
    /// show what is wrong with it.
    pub(in crate::primary) fn probation(&self, ready_since: Time) -> Duration {
        let took = ready_since.since(self.started);
        self.plan.spec.times.min_uptime.max(took.min(WATCHED_AT_MOST))
    }
}
