//! Stopping: no new connections, then no workers, then no listeners; and after a `delete` or a
//! first start that failed, no primary.

use std::time::Duration;

use config::spec::HookKind;
use ipc::control::{FailureKind, Notice, NoticeKind, Reply};

use super::state::Course;
use super::state::Stage;
use super::state::{FailedStart, Stopping};
use crate::base::ids::ClientId;
use crate::primary::action::Action;
use crate::primary::messages;
use crate::primary::slots::slot::Seat;
use crate::primary::worker::Worker;
use crate::primary::worker::end::Cause;
use crate::primary::{Job, Phase, Primary, Step};

/// The longest from the stop signal to SIGKILL in a fast stop.
const FAST: Duration = Duration::from_secs(2);
/// How long a primary whose first start failed stays, to report the reason to the client.
const LINGER: Duration = Duration::from_secs(2);

impl Primary {
    /// Whether the primary ends when the current job is done.
    pub(crate) fn is_ending(&self) -> bool {
        match &self.phase {
            Phase::Over { .. } => true,
            Phase::Stopping(stopping) => stopping.exit.is_some(),
            Phase::Opening | Phase::Running | Phase::Stopped => false,
        }
    }

    /// Stops the app, whatever job is running. `exit`: the primary then ends with this code.
    pub(in crate::primary) fn stop(
        &mut self,
        fast: bool,
        exit: Option<u8>,
        client: Option<ClientId>,
        step: &mut Step<'_>,
    ) {
        if matches!(self.phase, Phase::Stopped) && exit.is_none() {
            let message = messages::stopped_already(&self.serving);
            step.answer_all(client.as_slice(), &Reply::done(message));
            return;
        }
        if let Phase::Stopping(stopping) = &mut self.phase {
            stopping.clients.extend(client);
            stopping.exit = stopping.exit.or(exit);
        } else {
            let opening = self.is_opening();
            self.drop_work(step);
            let clients = client.into_iter().collect();
            let stopping =
                Stopping { clients, exit, opening, gated: false, gates: !fast, failed: None };
            self.phase = Phase::Stopping(stopping);
        }
        if fast {
            self.hooks.hurry(step.now);
        }
        self.hooks.wind_up(step.now, self.serving.spec.hooks.timeout);
        let takes_leave =
            |worker: &Worker| worker.is_ready() && worker.plan.spec.hooks.has(HookKind::PreStop);
        if !self.workers.values().any(takes_leave) {
            self.gate_if_due(step);
        }
        for worker in self.workers.values_mut() {
            let times = worker.plan.spec.times;
            if fast {
                worker.stop(times.kill_timeout.min(FAST), step);
            } else if worker.ready_since.is_some() {
                worker.retire(times.drain_timeout.min(times.kill_timeout), step);
            } else {
                worker.stop(times.kill_timeout, step);
            }
        }
    }

    /// Ends the primary if it is to end with its workers, and no worker is left or will start.
    pub(in crate::primary) fn end_with_workers(&mut self, step: &mut Step<'_>) {
        let idle = matches!(self.phase, Phase::Running) && self.job.is_none();
        let hopeless = || !self.wanted().any(|(_, state)| state.has_hope());
        if self.ends_with_workers && idle && self.warm.is_some() && hopeless() {
            self.cool("no worker serves any more".to_owned(), step);
        }
        let is_over = self.workers.is_empty() && self.hooks.is_empty();
        if !self.ends_with_workers || !idle || !is_over {
            return;
        }
        let mut code = 0;
        for (_, state) in self.wanted() {
            match &state.seat {
                Seat::Empty | Seat::Held(_) | Seat::Waiting { .. } => return,
                Seat::Errored { .. } => code = 1,
                Seat::Stopped { .. } => {}
            }
        }
        // The next change of a file may mend it.
        if code != 0 && self.serving.spec.watch.paths.is_some() {
            return;
        }
        self.answer_waiters(step);
        step.publish(Notice::of_app(NoticeKind::Warning, messages::ends(&self.serving, code)));
        self.stop(true, Some(code), None, step);
        while self.advance(step) {}
    }

    /// The first start failed and another attempt cannot help: undoes everything.
    pub(in crate::primary) fn abandon(
        &mut self,
        reason: &str,
        last_lines: Vec<String>,
        step: &mut Step<'_>,
    ) {
        let reason = messages::cannot_start(&self.serving, reason);
        step.publish(Notice::of_app(NoticeKind::Warning, reason.clone()));
        let opening = self.is_opening();
        let told = !self.waiters.is_empty();
        let until = (!told).then(|| step.now + LINGER);
        let failed = Some(FailedStart { reason, last_lines, until });
        let stopping = Stopping { exit: Some(1), opening, failed, ..Stopping::default() };
        let refusal = stopping.refusal(&self.serving);
        for waiter in std::mem::take(&mut self.waiters) {
            step.answer(waiter.client, refusal.clone());
        }
        self.drop_work(step);
        self.phase = Phase::Stopping(stopping);
        for worker in self.workers.values_mut() {
            worker.kill(Cause::Told, step);
        }
    }

    /// Whether `Action::OpenListeners` is under way.
    fn is_opening(&self) -> bool {
        match &self.job {
            Some(Job::Rollout(rollout)) => matches!(rollout.course, Course::Opening),
            Some(Job::Hard(hard)) => matches!(hard.stage, Stage::Opening),
            Some(Job::Scale(_) | Job::Recycle(_)) | None => matches!(self.phase, Phase::Opening),
        }
    }

    /// Ends the job, empties the queue, and tells every waiting client.
    fn drop_work(&mut self, step: &mut Step<'_>) {
        let job = match self.job.take() {
            Some(Job::Rollout(rollout)) => [rollout.clients, rollout.aborting].concat(),
            Some(Job::Hard(hard)) => hard.clients,
            Some(Job::Scale(scaling)) => scaling.clients,
            Some(Job::Recycle(_)) | None => Vec::new(),
        };
        let merging = self.merging.take().map(|merging| merging.clients).unwrap_or_default();
        let queued = std::mem::take(&mut self.queue).into_iter().flat_map(|p| p.clients);
        let waiting = std::mem::take(&mut self.waiters).into_iter().map(|waiter| waiter.client);
        let all: Vec<ClientId> =
            job.into_iter().chain(merging).chain(queued).chain(waiting).collect();
        let reason = messages::stopped_meanwhile(&self.serving);
        step.answer_all(&all, &messages::failed(FailureKind::Failed, reason, &[]));
        self.sweep_at = None;
        (self.warm, self.cooled) = (None, None);
        for (slot, state) in &mut self.slots {
            state.retiring.extend(state.warm.take());
            state.leaving |= !self.serving.wants(*slot);
            if !matches!(state.seat, Seat::Held(_)) {
                state.seat = Seat::Stopped { reason: messages::STOPPED.to_owned() };
            }
        }
    }

    /// Whether the app stops and still serves, because a `pre_stop` runs.
    pub(in crate::primary) fn serves_while_it_stops(&self) -> bool {
        matches!(&self.phase, Phase::Stopping(stopping) if stopping.gates)
    }

    /// Refuses new connections, once no worker waits for its `pre_stop`: until that has ended, a
    /// load balancer may not know that the app goes.
    fn gate_if_due(&mut self, step: &mut Step<'_>) {
        let waits = self.anyone_takes_leave();
        let Phase::Stopping(stopping) = &mut self.phase else { return };
        if waits || !std::mem::take(&mut stopping.gates) {
            return;
        }
        stopping.gated = true;
        for (listener, _) in self.sockets.steerable() {
            step.act(Action::Gate { listener });
        }
    }

    pub(in crate::primary) fn advance_stop(&mut self, step: &mut Step<'_>) -> bool {
        self.gate_if_due(step);
        let hooks_run = !self.hooks.is_empty();
        let Phase::Stopping(stopping) = &mut self.phase else { return false };
        if let Some(failed) = &mut stopping.failed
            && (!self.waiters.is_empty() || failed.until.is_some_and(|at| at <= step.now))
        {
            failed.until = None;
        }
        let workers = !self.workers.is_empty();
        if workers || hooks_run || stopping.opening || stopping.linger().is_some() {
            return false;
        }
        self.answer_waiters(step);
        for listener in self.sockets.ids() {
            self.close(listener, step);
        }
        let Phase::Stopping(stopping) = std::mem::replace(&mut self.phase, Phase::Stopped) else {
            return false;
        };
        let deleted = stopping.exit.is_some();
        let message = messages::stopped(&self.serving, deleted);
        step.answer_all(&stopping.clients, &Reply::done(message));
        if let Some(code) = stopping.exit {
            self.phase = Phase::Over { code };
            step.act(Action::Exit { code });
        }
        true
    }
}
