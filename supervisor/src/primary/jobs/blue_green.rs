//! Blue/green: a whole generation starts beside the one that serves, and takes over all slots in
//! one step. The generation before stays *warm*: its workers are ready and get no new connections.
//! While the rollout is observed, a failure switches back to them; afterwards a person can, for as
//! long as they were asked to stay.
//!
//! A warm generation is whole or is let go: if one of its workers ends, if its time is over, or if
//! another change of the app begins.

use std::time::Duration;

use config::spec::AppSpec;
use ipc::control::{FailureKind, Notice, NoticeKind, Reply};

use super::state::{Rollout, Warm, Wish};
use crate::base::ids::{ClientId, Slot};
use crate::base::time::Time;
use crate::primary::action::Action;
use crate::primary::held_back::HeldBack;
use crate::primary::messages::{self, rollout as said};
use crate::primary::slots::pools::Pools;
use crate::primary::slots::restart_policy::History;
use crate::primary::slots::slot::{Seat, SlotState};
use crate::primary::worker::Worker;
use crate::primary::worker::end::End;
use crate::primary::{Job, Phase, Primary, Step};

pub(in crate::primary) const ANOTHER_CHANGE: &str = "another change of the app began";

impl Primary {
    /// Why a whole generation cannot wait beside the one that serves.
    pub(in crate::primary) fn cannot_switch(&self) -> Option<String> {
        let shared = self.sockets.iter().find(|listener| listener.opened.shared)?;
        Some(said::cannot_switch(&shared.opened.address))
    }

    /// Starts what is missing of the new generation, and switches when all of it has proved itself.
    pub(in crate::primary) fn advance_at_once(&mut self, to: &Pools, step: &mut Step<'_>) -> bool {
        for (slot, plan) in to.slots() {
            if self.slots.get(&slot).is_some_and(|state| state.successor.is_some()) {
                continue;
            }
            // A slot that is new is wanted from the switch on.
            let add = || SlotState {
                leaving: true,
                seat: Seat::Stopped { reason: messages::STOPPED.to_owned() },
                ..SlotState::new(plan.clone())
            };
            self.slots.entry(slot).or_insert_with(add);
            let (required, _) = self.required(slot);
            self.start_successor(slot, plan, required, step);
        }
        let Some(Job::Rollout(rollout)) = &self.job else { return false };
        let due = self.switch_at(rollout).is_some_and(|at| at <= step.now);
        if due {
            self.switch_over(to, step);
        }
        due
    }

    /// When all slots may be taken over. `None`: not all workers are ready, or it is paused.
    pub(in crate::primary) fn switch_at(&self, rollout: &Rollout) -> Option<Time> {
        if rollout.pause.is_some() {
            return None;
        }
        let mut at = rollout.began;
        for (slot, _) in rollout.to.slots() {
            let successor = self.slots.get(&slot)?.successor?;
            let worker = self.workers.get(&successor).filter(|worker| worker.is_ready())?;
            let since = worker.ready_since?;
            at = at.max(since + worker.probation(since));
        }
        Some(at)
    }

    /// All slots change hands, and then each listener is steered once.
    fn switch_over(&mut self, to: &Pools, step: &mut Step<'_>) {
        let planned = self.serving.clone();
        let mut leavers = Vec::new();
        let slots: Vec<Slot> = self.slots.keys().copied().collect();
        for slot in slots {
            let old = if let Some(plan) = to.plan_of(slot) {
                let state = self.slot(slot);
                if state.leaving {
                    state.begin_anew(plan);
                }
                self.seat_successor(slot, step)
            } else {
                let state = self.slot(slot);
                if state.leaving { None } else { state.vacate() }
            };
            let Some(old) = old else { continue };
            if self.workers.get(&old).is_some_and(Worker::is_ready) {
                self.slot(slot).warm = Some(old);
            } else {
                self.slot(slot).retiring.insert(old);
                leavers.push(old);
            }
        }
        self.warm = Some(Warm { planned, until: None });
        self.cooled = None;
        if let Some(Job::Rollout(rollout)) = &mut self.job {
            if let Some(at_once) = &mut rollout.at_once {
                at_once.switched = true;
            }
            // The observation is one of workers that serve.
            let observe = |spec: &AppSpec| step.now + spec.times.observe;
            let pools = to.all().map(|(pool, plan)| (pool, observe(&plan.spec)));
            rollout.observed_until = pools.collect();
            let message = said::switched(&self.serving, to, rollout.replaced);
            step.publish(Notice::of_app(NoticeKind::SlotReplaced, message));
        }
        self.steer(step);
        for worker in leavers {
            self.retire(worker, step);
        }
        if !self.is_warm_whole() {
            // To switch back would take workers away that serve.
            self.cool("not all of its workers were ready".to_owned(), step);
        }
    }

    /// Whether every slot that the warm generation wants has its worker.
    fn is_warm_whole(&self) -> bool {
        let is_there = |slot: &Slot| self.slots.get(slot).is_some_and(|s| s.warm.is_some());
        self.warm.as_ref().is_some_and(|warm| warm.planned.slots().all(|(slot, _)| is_there(&slot)))
    }

    /// Gives all slots back to the warm generation, if there is one. Its plans must serve already.
    pub(in crate::primary) fn switch_back(&mut self, step: &mut Step<'_>) -> bool {
        let Some(Warm { planned, .. }) = self.warm.take() else { return false };
        let mut leavers = Vec::new();
        for (slot, plan) in planned.slots() {
            let Self { slots, workers, .. } = self;
            let state = slots.entry(slot).or_insert_with(|| SlotState::new(plan.clone()));
            if state.leaving {
                state.begin_anew(plan.clone());
            }
            let warm = state.warm.take().and_then(|id| workers.get(&id));
            let seat = warm.map_or(Seat::Empty, |worker| Seat::Held(worker.id));
            if let Seat::Held(new) = std::mem::replace(&mut state.seat, seat) {
                state.retiring.insert(new);
                leavers.push(new);
            }
            state.plan = plan;
            state.served = state.served_before.take();
            state.late.clear();
            state.history = History::default();
            if let Some(worker) = warm {
                (state.served, state.late) = (Some(worker.listens_now()), worker.late.clone());
                state.history.became_ready();
            }
        }
        self.dismiss(&planned, step);
        for worker in leavers {
            self.retire(worker, step);
        }
        true
    }

    /// A rollout has succeeded. Returns whether warm workers leave now.
    pub(in crate::primary) fn settle_warm(&mut self, step: &mut Step<'_>) -> bool {
        let Some(Job::Rollout(rollout)) = &self.job else { return false };
        let Some(at_once) = rollout.at_once else { return false };
        if at_once.keep_old == Duration::ZERO {
            self.cool("it was not asked to".to_owned(), step);
        } else if let Some(warm) = &mut self.warm {
            warm.until = Some(step.now + at_once.keep_old);
        }
        self.anyone_retires()
    }

    /// Lets the warm generation go.
    pub(in crate::primary) fn cool(&mut self, why: String, step: &mut Step<'_>) {
        let Some(Warm { planned, .. }) = self.warm.take() else { return };
        self.cooled = Some(said::cools(&planned, &why));
        let mut leavers = Vec::new();
        for state in self.slots.values_mut() {
            leavers.extend(state.warm);
            state.retiring.extend(state.warm.take());
        }
        for worker in leavers {
            self.retire(worker, step);
        }
    }

    pub(in crate::primary) fn cool_if_due(&mut self, step: &mut Step<'_>) {
        let until = self.warm.as_ref().and_then(|warm| warm.until);
        if until.is_some_and(|until| until <= step.now) {
            self.cool("its time was over".to_owned(), step);
        }
    }

    /// A warm worker is gone: what is left of its generation could not carry what the whole did.
    pub(in crate::primary) fn warm_lost(
        &mut self,
        worker: &Worker,
        end: &End,
        step: &mut Step<'_>,
    ) {
        let place = self.serving.place(worker.slot);
        let why = said::warm_worker_ended(&place, &messages::why(worker, end));
        self.cool(why, step);
        if let Some(cooled) = self.cooled.clone() {
            step.publish(messages::about(worker, NoticeKind::Warning, cooled));
        }
    }

    pub(in crate::primary) fn request_rollback(&mut self, client: ClientId, step: &mut Step<'_>) {
        let reason = match (&self.phase, &self.job) {
            (Phase::Running, Some(Job::Rollout(_))) => said::roll_out_is_under_way(&self.serving),
            (Phase::Running, _) if self.warm.is_some() => {
                step.act(Action::Subscribe { client });
                return self.enqueue(Wish::Rollback, Some(client), step);
            }
            (
                Phase::Running
                | Phase::Opening
                | Phase::Stopping(_)
                | Phase::Stopped
                | Phase::Over { .. },
                _,
            ) => said::nothing_is_warm(&self.serving, self.cooled.as_deref()),
        };
        step.answer(client, messages::failed(FailureKind::Failed, reason, &[]));
    }

    /// Switches back to the warm generation.
    pub(in crate::primary) fn roll_back(&mut self, clients: &[ClientId], step: &mut Step<'_>) {
        if let (Some(why), Some(warm)) = (self.is_warm_unwell(), &self.warm) {
            // It may be well again before its time is over.
            let reason = said::cannot_go_back_now(&self.serving, &warm.planned, &why);
            return step.answer_all(clients, &messages::failed(FailureKind::Failed, reason, &[]));
        }
        let Some(planned) = self.warm.as_ref().map(|warm| warm.planned.clone()) else {
            let reason = said::nothing_is_warm(&self.serving, self.cooled.as_deref());
            return step.answer_all(clients, &messages::failed(FailureKind::Failed, reason, &[]));
        };
        let failed = std::mem::replace(&mut self.serving, planned);
        self.switch_back(step);
        let (from, to) = (failed.generation, self.serving.generation);
        let reason = messages::rolled_back(&self.serving, from, to, None, said::ASKED_BACK);
        self.cooled = Some(said::cools(&self.serving, "it serves again"));
        self.held_back = HeldBack::of(&failed, &self.serving, step.now);
        self.sweep_later(step.now);
        self.tell_rolled_back(&reason, step);
        step.answer_all(clients, &Reply::done(reason.clone()));
        self.hook_rollback(Slot(0), &reason, step);
    }

    /// Why the warm generation cannot serve. Where no worker that serves is well either, what the
    /// workers need may be down, and the warm ones are no worse.
    fn is_warm_unwell(&self) -> Option<String> {
        let is_well = |worker: &Worker| worker.is_ready() && !worker.readiness.fails();
        let all_fail = !self.seated_workers().any(is_well);
        self.slots.iter().find_map(|(slot, state)| {
            let worker = self.workers.get(&state.warm?)?;
            let well = worker.is_ready()
                && (all_fail || !worker.readiness.fails())
                && !worker.liveness.fails();
            (!well).then(|| said::probe_of_warm_fails(&self.serving.place(*slot)))
        })
    }

    /// What the answer to a reload says of the generation that stays.
    pub(in crate::primary) fn stays_warm(&self, now: Time) -> String {
        let stays = self.warm.as_ref().and_then(|warm| Some((warm, warm.until?)));
        stays.map_or_else(String::new, |(warm, until)| {
            said::stays_warm(&self.serving, &warm.planned, until.since(now))
        })
    }

    pub(in crate::primary) fn warm_note(&self) -> Option<String> {
        let warm = self.warm.as_ref().filter(|warm| warm.until.is_some())?;
        Some(said::warm_note(&self.serving, &warm.planned))
    }
}
