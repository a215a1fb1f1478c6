//! Starting: listeners first, then all workers at once; and the answers to the clients that wait.

use std::ops::RangeBounds;
use std::time::Duration;

use ipc::control::{FailureKind, Notice, NoticeKind, Reply};

use super::state::{Outlook, Waiter};
use crate::base::ids::{ClientId, ListenerId, Slot, WorkerId};
use crate::base::time::Time;
use crate::primary::action::Action;
use crate::primary::event::OpenedListener;
use crate::primary::messages;
use crate::primary::plan::Plan;
use crate::primary::slots::pools::Pools;
use crate::primary::slots::slot::Seat;
use crate::primary::worker::state::State;
use crate::primary::worker::{SOON, Worker};
use crate::primary::{Job, Phase, Primary, Step};

/// A program that serves several addresses opens them one after the other. A start is answered when
/// it has opened no further one for a quarter of the time that it has run, within these bounds, and
/// for twice the time between the last two: that measures how fast the program and the machine are.
const OPENING_SHARE: u32 = 4;
const OPENING_MIN: Duration = Duration::from_millis(10);
const OPENING_MAX: Duration = Duration::from_millis(250);

/// What comes later than this after an address does not belong to the same opening.
const OPENING_GAP: Duration = Duration::from_millis(500);

impl Primary {
    /// Starts an app that has no live worker.
    pub(in crate::primary) fn start(&mut self, planned: Pools, step: &mut Step<'_>) {
        let must_open = self.must_open(&planned);
        self.begin_slots_anew(planned, step);
        self.phase = Phase::Running;
        if must_open {
            self.phase = Phase::Opening;
            step.act(Action::OpenListeners { spec: self.serving.spec.clone() });
        }
    }

    /// Begins every slot of `planned` anew and forgets earlier failures.
    pub(in crate::primary) fn begin_slots_anew(&mut self, mut planned: Pools, step: &mut Step<'_>) {
        planned.alone.clear();
        self.add_slots(&planned);
        self.dismiss(&planned, step);
        for (slot, state) in &mut self.slots {
            let Some(plan) = planned.plan(slot.pool_index()) else { continue };
            if state.leaving {
                state.plan = plan.clone();
            } else {
                state.begin_anew(plan.clone());
            }
        }
        self.serving = planned;
        self.starting = true;
        self.hooks.begin_anew();
        self.held_back = None;
        self.sweep_at = None;
    }

    /// Whether the spec names an address that is not open yet.
    pub(in crate::primary) fn must_open(&self, plan: &Plan) -> bool {
        let mut configured = plan.spec.listen.iter();
        configured.any(|listen| self.sockets.find(&listen.address.to_string()).is_none())
    }

    /// Handles the answer to `Action::OpenListeners`. The job that ordered it is still running.
    pub(in crate::primary) fn listeners_opened(
        &mut self,
        result: Result<Vec<OpenedListener>, String>,
        step: &mut Step<'_>,
    ) {
        let by = match &self.job {
            Some(Job::Rollout(rollout)) => rollout.generation(),
            Some(Job::Hard(_) | Job::Scale(_) | Job::Recycle(_)) | None => self.serving.generation,
        };
        let result = result.map(|opened| {
            for listener in opened {
                self.open(listener, Some(by), step);
            }
        });
        match (&mut self.phase, &self.job) {
            (Phase::Opening, _) => self.start_opened(result, step),
            (Phase::Stopping(stopping), _) => stopping.opening = false,
            (Phase::Running, Some(Job::Rollout(_))) => self.rollout_opened(result, step),
            (Phase::Running, Some(Job::Hard(_))) => self.hard_opened(result, step),
            (Phase::Running, Some(Job::Scale(_) | Job::Recycle(_)) | None)
            | (Phase::Stopped | Phase::Over { .. }, _) => {}
        }
    }

    fn start_opened(&mut self, result: Result<(), String>, step: &mut Step<'_>) {
        self.phase = Phase::Running;
        let Err(reason) = result else { return };
        if self.founding {
            self.abandon(&reason, Vec::new(), step);
            return;
        }
        for state in self.slots.values_mut().filter(|state| !state.leaving) {
            state.seat =
                Seat::Errored { reason: reason.clone(), last_lines: Vec::new(), again: None };
        }
    }

    /// How far the wanted slots of this range are.
    pub(in crate::primary) fn outlook(&self, these: impl RangeBounds<Slot>) -> Outlook {
        let slots = || self.wanted().filter(|(slot, _)| these.contains(slot));
        if slots().all(|(_, state)| self.is_ready(state) || state.is_done()) {
            return Outlook::Ready;
        }
        if slots().any(|(_, state)| state.has_hope() && !self.is_ready(state)) {
            return Outlook::Open;
        }
        let mut failed = slots().filter_map(|(slot, state)| match &state.seat {
            Seat::Errored { reason, last_lines, .. } => Some((slot, reason, last_lines.clone())),
            Seat::Stopped { reason } if !state.is_done() => Some((slot, reason, Vec::new())),
            Seat::Empty | Seat::Held(_) | Seat::Waiting { .. } | Seat::Stopped { .. } => None,
        });
        match failed.next() {
            Some((slot, reason, last_lines)) => Outlook::Failed {
                reason: messages::start_failed(&self.serving, self.ready_count(), slot, reason),
                last_lines,
            },
            None => Outlook::Open,
        }
    }

    pub(in crate::primary) fn wait(&mut self, client: ClientId, now: Time) {
        let until = now + self.serving.patience();
        self.waiters.push(Waiter { client, until });
    }

    /// Answers the clients that wait for the app, once it is up or can no longer come up.
    pub(in crate::primary) fn answer_waiters(&mut self, step: &mut Step<'_>) {
        if self.waiters.is_empty() {
            return;
        }
        let Some(reply) = self.verdict() else {
            self.answer_late(step);
            return;
        };
        if self.opening_until().is_some_and(|until| until > step.now) {
            return;
        }
        for waiter in std::mem::take(&mut self.waiters) {
            step.answer(waiter.client, reply.clone());
        }
    }

    /// A worker has opened an address that was not open before; another one may follow.
    pub(in crate::primary) fn expect_more_addresses(&mut self, now: Time) {
        let starting =
            self.workers.values().filter(|worker| worker.is_coming() || worker.is_ready());
        let oldest = starting.map(|worker| now.since(worker.started)).max();
        let share = |ran: Duration| (ran / OPENING_SHARE).clamp(OPENING_MIN, OPENING_MAX);
        let since_last = self.opened_at.replace(now).map(|at| now.since(at));
        let gap = since_last.filter(|gap| *gap <= OPENING_GAP).unwrap_or_default();
        self.opens_until = oldest.map(|ran| now + share(ran).max(gap * 2));
    }

    /// Until when the workers may still open further addresses, if a client waits for the app and
    /// it is ready otherwise; never for longer than any of them waits.
    pub(in crate::primary) fn opening_until(&self) -> Option<Time> {
        let is_up =
            || matches!(self.phase, Phase::Running) && matches!(self.outlook(..), Outlook::Ready);
        let first = self.waiters.iter().map(|waiter| waiter.until).min()?;
        let until = self.opens_until?.min(first);
        is_up().then_some(until)
    }

    fn verdict(&self) -> Option<Reply> {
        match &self.phase {
            Phase::Opening | Phase::Over { .. } => None,
            Phase::Running => match self.outlook(..) {
                Outlook::Ready => Some(Reply::done(self.is_up())),
                Outlook::Open => None,
                Outlook::Failed { reason, last_lines } => {
                    Some(messages::failed(FailureKind::Failed, reason, &last_lines))
                }
            },
            Phase::Stopping(stopping) => Some(stopping.refusal(&self.serving)),
            Phase::Stopped => {
                let reason = messages::is_stopped(&self.serving);
                Some(messages::failed(FailureKind::Failed, reason, &[]))
            }
        }
    }

    /// What a start says that has succeeded.
    fn is_up(&self) -> String {
        match self.wanted().filter(|(_, state)| state.is_done()).count() {
            0 => messages::up(&self.serving, &self.sockets),
            done => messages::jobs_done(&self.serving, done),
        }
    }

    fn answer_late(&mut self, step: &mut Step<'_>) {
        let reason = messages::start_timed_out(&self.serving, self.ready_count());
        let reply = messages::failed(FailureKind::TimedOut, reason, &[]);
        let now = step.now;
        for late in self.waiters.extract_if(.., |waiter| waiter.until <= now) {
            step.answer(late.client, reply.clone());
        }
    }

    /// All workers are new and ready. Addresses that they do not serve will be closed, but not at
    /// once: a program that listens on several addresses opens them one after the other. Nor is an
    /// address that a worker has just given up.
    pub(in crate::primary) fn sweep_later(&mut self, now: Time) {
        self.sweep_at = Some(now + self.serving.spec.times.listen_wait.max(SOON));
    }

    /// Closes the listeners that no worker serves and no configuration names, when the time has
    /// come.
    pub(in crate::primary) fn sweep(&mut self, step: &mut Step<'_>) {
        if self.starting && matches!(self.outlook(..), Outlook::Ready) {
            self.starting = false;
            self.sweep_later(step.now);
        }
        if self.sweep_at.take_if(|at| *at <= step.now).is_some() {
            // A worker that is young may still listen where one that has just left did.
            let may_change = |worker: &Worker| {
                let patience = worker.plan.spec.times.listen_wait.max(SOON);
                let is_young = step.now.since(worker.started) < patience;
                is_young || matches!(worker.state, State::Draining(_))
            };
            let comes = self.workers.is_empty() && self.wanted().any(|(_, slot)| slot.has_hope());
            if comes || self.workers.values().any(may_change) {
                self.sweep_later(step.now);
                return;
            }
            for listener in self.sockets.ids() {
                self.close_if_unserved(listener, step);
            }
        }
    }

    pub(in crate::primary) fn close_if_unserved(
        &mut self,
        listener: ListenerId,
        step: &mut Step<'_>,
    ) {
        let address = self.sockets.address(listener);
        let is_named = match &self.job {
            Some(Job::Rollout(rollout)) => rollout.to.configures(address),
            Some(Job::Hard(_) | Job::Scale(_) | Job::Recycle(_)) | None => false,
        };
        let is_wanted = is_named || self.serving.configures(address) || self.is_awaited(listener);
        if !self.is_served(listener) && !is_wanted {
            self.close(listener, step);
        }
    }

    /// Whether a coming worker must listen there, because the last worker of its slot did.
    fn is_awaited(&self, listener: ListenerId) -> bool {
        self.wanted().any(|(_, state)| {
            let served = state.served.as_ref().is_some_and(|served| served.contains(&listener));
            served && !state.late.contains(&listener) && state.has_hope() && !self.is_ready(state)
        })
    }

    /// Whether any worker listens there, inherited the listener, or got a socket of it that listens
    /// already.
    pub(in crate::primary) fn is_served(&self, listener: ListenerId) -> bool {
        let serves = |worker: &Worker| {
            let listens = worker.serves(listener) && !worker.has_given_up(listener);
            listens || worker.already_open.contains_key(&listener)
        };
        self.workers.values().any(serves)
    }

    /// Whether the worker opened this listener long after its start.
    pub(crate) fn is_late(&self, worker: WorkerId, listener: ListenerId) -> bool {
        self.workers.get(&worker).is_some_and(|worker| worker.late.contains(&listener))
    }

    /// Whether the worker opened any listener long after its start.
    pub(crate) fn has_late(&self, worker: WorkerId) -> bool {
        self.workers.get(&worker).is_some_and(|worker| !worker.late.is_empty())
    }

    pub(in crate::primary) fn close(&mut self, listener: ListenerId, step: &mut Step<'_>) {
        let message = messages::listener_closed(self.sockets.address(listener));
        if !self.sockets.close(listener) {
            return;
        }
        for state in self.slots.values_mut() {
            let served = state.served.iter_mut().chain(&mut state.served_before);
            served.for_each(|served| _ = served.remove(&listener));
        }
        for worker in self.workers.values_mut() {
            worker.forget(listener);
        }
        step.act(Action::CloseListener { listener });
        step.publish(Notice::of_app(NoticeKind::ListenerClosed, message));
    }
}
