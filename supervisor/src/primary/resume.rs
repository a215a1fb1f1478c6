//! Coming back: the process died at an unknown moment, and this core was restored from its last
//! snapshot.
//!
//! The primary writes a snapshot before it carries out the actions. So the core is ahead of the
//! world by the actions of one turn at most: the runtime may have carried them out or not. And the
//! core does not know what has happened since. Here it orders again everything that may be missing
//! and does no harm twice, asks again for every answer that it lacks, and gives up what is gone.
//! What the runtime can find out by itself it tells afterwards, as events.

use std::collections::BTreeSet;
use std::time::Duration;

use super::action::Action;
use super::event::OpenedListener;
use super::given::Given;
use super::jobs::state::Course;
use super::jobs::state::Stage;
use super::worker::Worker;
use super::worker::leave::SIGCONT;
use super::worker::state::State;
use super::{Job, Phase, Primary, Step};
use crate::base::ids::{ClientId, WorkerId};
use crate::base::time::Time;
use crate::primary::worker::end::{Cause, End, EndKind};
use config::spec::ListenSpec;

/// The least time that a starting, draining or stopping worker has after a restore: meanwhile the
/// primary did not answer it, look at it or signal it.
const GRACE: Duration = Duration::from_secs(2);

/// What the runtime finds when it comes back.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Every listener that is open.
    pub(crate) listeners: Vec<OpenedListener>,
    /// Every worker of which something is left: live workers, and workers whose end the next events
    /// report. All others are gone, and how they ended is unknown.
    pub(crate) workers: BTreeSet<WorkerId>,
    /// The clients of the dead primary that are still connected.
    pub(crate) clients: BTreeSet<ClientId>,
    /// The actions of the last turn were all carried out. False: some may not have been.
    pub(crate) carried_out: bool,
}

impl Primary {
    /// Call this once after [`Primary::restore`], before any event. Then, in the same turn (at the
    /// same `now`, before the actions are carried out), pass the events that the runtime finds out:
    /// the workers that ended, those whose programs run, where they listen and no longer listen,
    /// the `bind`s that wait for an answer; then `Event::Turn`.
    pub(crate) fn resume(&mut self, now: Time, facts: Facts, out: &mut Vec<Action>) {
        let step = &mut Step { now, out };
        let (carried_out, clients) = (facts.carried_out, &facts.clients);
        self.given.retain(|given| !carried_out && clients.contains(&given.client()));
        self.given.iter().for_each(|given| step.act(given.again()));
        if let Phase::Over { code } = self.phase {
            facts.workers.iter().for_each(|worker| step.act(Action::Release { worker: *worker }));
            for OpenedListener { id, .. } in facts.listeners {
                step.act(Action::CloseListener { listener: id });
            }
            step.act(Action::Exit { code });
            return;
        }
        self.returning = true;
        let doubtful = self.stepped.filter(|_| !carried_out);
        self.keep_clients(|client| clients.contains(client));
        self.find_listeners(facts.listeners, step);
        // What was closed or answered in the last turn may have to be in the next one again.
        self.stepped = Some(now);
        self.count_workers(facts.workers, step);
        if self.sweep_at.is_some() {
            self.sweep_later(now);
        }
        self.open_again(step);
        self.merge_again(step);
        self.steer_again(step);
        for worker in self.workers.values_mut() {
            worker.resume(doubtful, step);
        }
    }

    /// Forgets the clients that are gone. The jobs that they asked for go on.
    pub(super) fn keep_clients(&mut self, stays: impl Fn(&ClientId) -> bool) {
        self.waiters.retain(|waiter| stays(&waiter.client));
        self.queue.iter_mut().for_each(|pending| pending.clients.retain(&stays));
        if let Some(merging) = &mut self.merging {
            merging.clients.retain(&stays);
        }
        self.job_clients_mut().for_each(|clients| clients.retain(&stays));
    }

    /// The clients that wait for the end of the current job.
    fn job_clients_mut(&mut self) -> impl Iterator<Item = &mut Vec<ClientId>> {
        let (one, other) = match (&mut self.phase, &mut self.job) {
            (Phase::Stopping(stopping), _) => (Some(&mut stopping.clients), None),
            (_, Some(Job::Rollout(rollout))) => {
                (Some(&mut rollout.clients), Some(&mut rollout.aborting))
            }
            (_, Some(Job::Scale(scaling))) => (Some(&mut scaling.clients), None),
            (_, Some(Job::Hard(hard))) => (Some(&mut hard.clients), None),
            (_, Some(Job::Recycle(_)) | None) => (None, None),
        };
        one.into_iter().chain(other)
    }

    /// The clients that still get an answer, or whose answer may not have reached them.
    pub(crate) fn awaited(&mut self) -> BTreeSet<ClientId> {
        let given = self.given.iter().map(Given::client);
        let waiters = self.waiters.iter().map(|waiter| waiter.client).chain(given);
        let queued = self.queue.iter().flat_map(|pending| pending.clients.iter().copied());
        let merging = self.merging.iter().flat_map(|merging| merging.clients.iter().copied());
        let mut all: BTreeSet<ClientId> = waiters.chain(queued).chain(merging).collect();
        all.extend(self.job_clients_mut().flat_map(|clients| clients.iter().copied()));
        all
    }

    /// Closes again the listeners that were closed, and takes in those that it does not know yet.
    fn find_listeners(&mut self, found: Vec<OpenedListener>, step: &mut Step<'_>) {
        for opened in found {
            let listener = opened.id;
            if self.sockets.knows(listener) {
                continue;
            }
            if self.sockets.has_just_closed(listener) || matches!(self.phase, Phase::Stopped) {
                step.act(Action::CloseListener { listener });
                continue;
            }
            let by = match &self.job {
                Some(Job::Rollout(rollout)) if rollout.to.configures(&opened.address) => {
                    Some(rollout.generation())
                }
                Some(Job::Rollout(_) | Job::Hard(_) | Job::Scale(_) | Job::Recycle(_)) | None => {
                    None
                }
            };
            self.open(opened, by, step);
            // If no worker asks for it, it is not served.
            if matches!(self.phase, Phase::Running) && !matches!(self.job, Some(Job::Rollout(_))) {
                self.sweep_later(step.now);
            }
        }
    }

    fn count_workers(&mut self, found: BTreeSet<WorkerId>, step: &mut Step<'_>) {
        let is_unknown = |id: &WorkerId| !self.workers.contains_key(id) && !self.hooks.has(*id);
        let unknown: Vec<WorkerId> = found.iter().copied().filter(is_unknown).collect();
        for worker in unknown {
            // The runtime started it after the last snapshot, whose writing must have failed.
            if worker >= WorkerId(self.next_worker) {
                self.next_worker = worker.0 + 1;
                step.act(Action::Kill { worker });
            }
            step.act(Action::Release { worker });
        }
        // Before anything that follows has further ones run.
        self.resume_hooks(|id| found.contains(&id), step);
        let is_lost = |worker: &&Worker| !found.contains(&worker.id);
        let lost: Vec<WorkerId> = self.workers.values().filter(is_lost).map(|w| w.id).collect();
        for id in lost {
            match self.workers.get_mut(&id) {
                // Its process is to come, after that of its hook.
                Some(Worker { prepares: Some(_), .. }) => {}
                Some(Worker { state: State::Spawning { .. }, .. }) => self.order_spawn(id, step),
                Some(worker) => {
                    let end = worker.vanished();
                    self.gone(id, end, step);
                }
                None => {}
            }
        }
    }

    /// Orders the start of a worker's program.
    pub(super) fn order_spawn(&self, id: WorkerId, step: &mut Step<'_>) {
        let Some(worker) = self.workers.get(&id) else { return };
        let lent = |configured: &ListenSpec| {
            let listener = self.sockets.find(&configured.address.to_string())?;
            worker.lent.contains(&listener).then_some(listener)
        };
        let socket = |listener| Some((listener, self.sockets.lent(listener, id)?));
        step.act(Action::Spawn {
            worker: id,
            slot: worker.slot,
            generation: worker.plan.generation,
            spec: worker.plan.spec.clone(),
            workers: worker.plan.spec.wanted,
            lend: worker.plan.spec.listen.iter().filter_map(lent).filter_map(socket).collect(),
        });
    }

    /// The answer to `Action::OpenListeners` will not come any more.
    fn open_again(&mut self, step: &mut Step<'_>) {
        let spec = match (&mut self.phase, &self.job) {
            (Phase::Opening, _) => Some(&self.serving.spec),
            (Phase::Stopping(stopping), _) => {
                // The facts already contain what it opened.
                stopping.opening = false;
                None
            }
            (Phase::Running, Some(Job::Rollout(rollout))) => {
                matches!(rollout.course, Course::Opening).then_some(&rollout.to.spec)
            }
            (Phase::Running, Some(Job::Hard(hard))) => {
                matches!(hard.stage, Stage::Opening).then_some(&hard.to.spec)
            }
            (Phase::Running, Some(Job::Scale(_) | Job::Recycle(_)) | None)
            | (Phase::Stopped | Phase::Over { .. }, _) => None,
        };
        if let Some(spec) = spec {
            step.act(Action::OpenListeners { spec: spec.clone() });
        }
    }

    fn steer_again(&mut self, step: &mut Step<'_>) {
        let gated = match &self.phase {
            Phase::Opening | Phase::Running => false,
            Phase::Stopping(stopping) if stopping.gated => true,
            Phase::Stopping(_) | Phase::Stopped | Phase::Over { .. } => return,
        };
        for (listener, state) in self.sockets.steerable() {
            if gated {
                step.act(Action::Gate { listener });
            } else if !state.steered.is_empty() {
                step.act(Action::Steer { listener, targets: state.steered.clone() });
            }
        }
    }
}

impl Worker {
    /// The worker is gone, and its exit is unknown.
    fn vanished(&self) -> End {
        let kind = match &self.state {
            State::Spawning { .. } | State::Draining(_) => EndKind::Told,
            State::Starting { .. } | State::Ready => EndKind::Failed(self.unseen().to_owned()),
            State::Killing { cause: Cause::Told, .. } => EndKind::Told,
            State::Killing { cause: Cause::Failed(reason), .. } => EndKind::Failed(reason.clone()),
        };
        End { kind, ..End::never_was() }
    }

    /// Why it is gone, if its exit is unknown.
    pub(super) fn unseen(&self) -> &'static str {
        match self.state {
            State::Spawning { .. } => "it was not started",
            State::Starting { .. } | State::Ready | State::Draining(_) | State::Killing { .. } => {
                "it was gone when the supervisor came back"
            }
        }
    }

    /// Says again what the worker was last told, unless it has heard it. `doubtful`: orders of that
    /// time may not have been carried out.
    fn resume(&mut self, doubtful: Option<Time>, step: &mut Step<'_>) {
        let now = step.now;
        match &mut self.state {
            // The runtime tells whether its program runs, and then it is killed if it is to be.
            State::Spawning { .. } => return,
            State::Starting { since, ready_by } => {
                let times = &self.plan.spec.times;
                *ready_by = (*ready_by).max(now + GRACE.min(times.ready_timeout));
                // Nor is it taken yet for one that listens nowhere.
                *since = (*since).max(now - times.listen_wait.saturating_sub(GRACE));
            }
            State::Ready => {
                if doubtful.is_some() && self.recalled == doubtful {
                    self.recalled = Some(now);
                    step.act(Action::EndKept { worker: self.id, ends: false });
                }
                if let Some(watch) = &mut self.watch {
                    watch.resume(now);
                }
            }
            State::Draining(drain) => {
                drain.resume(now, GRACE);
                step.act(Action::BusDrain { worker: self.id });
                step.act(Action::EndKept { worker: self.id, ends: true });
                if drain.told.is_some() && drain.told == doubtful {
                    drain.told = Some(now);
                    step.act(Action::Stop { worker: self.id });
                }
            }
            State::Killing { deadline: None, killed, .. } => {
                *killed = Some(now);
                step.act(Action::Kill { worker: self.id });
                return;
            }
            // A second stop signal makes many programs hurry: not without need.
            State::Killing { since, deadline: Some(deadline), .. } => {
                if Some(*since) == doubtful {
                    *since = now;
                    let grace = GRACE.min(self.plan.spec.times.kill_timeout);
                    *deadline = (*deadline).max(now + grace);
                    step.act(Action::Stop { worker: self.id });
                }
            }
        }
        if self.shares {
            // It may have been frozen for a look.
            step.act(Action::Signal { worker: self.id, signal: SIGCONT, group: true });
        }
    }
}
