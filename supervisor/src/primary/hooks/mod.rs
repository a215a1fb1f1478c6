//! Hooks: commands of the user's at moments of a worker's life. The core orders each as a process
//! of its own, which has a number like a worker, and hears how it ended as it does of a worker.
//!
//! Workers wait for two of them: `pre_start` runs before the program, `pre_stop` before the drain.
//! Each worker has at most one of these at a time. A rollout waits for `observe_check`. The others
//! only report. At most [`MOST_AT_ONCE`] of them run at a time, [`MOST_WAITING`] wait, and more are
//! left out.
//!
//! A hook whose time is over is killed and has failed, whatever its exit code says. One that the
//! kill does not end (a program with the rights of another user, or one that waits in the kernel)
//! is abandoned after [`LAST`].

pub(super) mod state;

use std::collections::BTreeMap;
use std::time::Duration;

use config::spec::HookKind;
use ipc::control::{Notice, NoticeKind};

use self::state::{Hook, Killed, Outcome};
use super::action::Action;
use super::event::Cue;
use super::jobs::state::Failure;
use super::messages;
use super::plan::Plan;
use super::text;
use super::worker::Worker;
use super::worker::end::{End, EndKind};
use super::worker::state::State;
use super::{Primary, Step};
use crate::base::exit::Exit;
use crate::base::ids::{Slot, WorkerId};
use crate::base::time::Time;

/// The most hooks that nothing waits for and that run at a time.
const MOST_AT_ONCE: usize = 8;
/// The most that wait for their turn.
const MOST_WAITING: usize = 64;
/// The least time that a hook has after a restore: its end may not have been heard yet.
const GRACE: Duration = Duration::from_secs(2);
/// How long a hook may live on after it was killed.
const LAST: Duration = Duration::from_secs(5);
/// Bytes of the longest reason in the environment of a hook.
const MOST_REASON: usize = 4096;

/// What a hook is about.
struct Cause<'a> {
    kind: HookKind,
    worker: Option<WorkerId>,
    slot: Slot,
    plan: &'a Plan,
    variables: BTreeMap<String, String>,
}

impl Primary {
    /// Has `pre_start` run, if there is one: the program of the worker starts afterwards.
    pub(super) fn prepare(&mut self, id: WorkerId, step: &mut Step<'_>) -> bool {
        let begun = self.about(id, HookKind::PreStart, step);
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.prepares = begun;
        }
        begun.is_some()
    }

    /// Has the hooks run that follow from the readiness of a worker.
    pub(super) fn hook_ready(&mut self, id: WorkerId, step: &mut Step<'_>) {
        self.about(id, HookKind::PostReady, step);
    }

    /// Has a hook run about a worker that lives. The number of its process, if it has one already.
    fn about(&mut self, id: WorkerId, kind: HookKind, step: &mut Step<'_>) -> Option<WorkerId> {
        let worker = self.workers.get(&id)?;
        let (slot, plan) = (worker.slot, worker.plan.clone());
        let variables = BTreeMap::new();
        self.begin_hook(Cause { kind, worker: Some(id), slot, plan: &plan, variables }, step)
    }

    /// Has the hooks run that follow from the end of a worker.
    pub(super) fn hook_end(&mut self, worker: &Worker, end: &End, step: &mut Step<'_>) {
        let mut variables = BTreeMap::new();
        let reason = shortened(messages::why(worker, end));
        variables.insert("SUPERVISOR_REASON".to_owned(), reason);
        match end.exit {
            Some(Exit::Code(code)) => {
                variables.insert("SUPERVISOR_EXIT_CODE".to_owned(), code.to_string());
            }
            Some(Exit::Signal(signal)) => {
                let name = config::signal::name(signal);
                let name = name.map_or_else(|| signal.to_string(), str::to_owned);
                variables.insert("SUPERVISOR_EXIT_SIGNAL".to_owned(), name);
            }
            Some(Exit::Unknown) | None => {}
        }
        let crash = has_failed(worker, end, step.now).then_some(HookKind::OnCrash);
        let stop = has_begun(worker, end).then_some(HookKind::PostStop);
        for kind in crash.into_iter().chain(stop) {
            let (id, slot, plan) = (Some(worker.id), worker.slot, &worker.plan);
            let variables = variables.clone();
            self.begin_hook(Cause { kind, worker: id, slot, plan, variables }, step);
        }
    }

    /// Has `observe_check` run about a worker, if there is one.
    pub(super) fn check_canary(&mut self, id: WorkerId, step: &mut Step<'_>) -> Option<WorkerId> {
        self.about(id, HookKind::ObserveCheck, step)
    }

    /// Has `on_rollback` run: that of the plan which serves.
    pub(super) fn hook_rollback(&mut self, slot: Slot, reason: &str, step: &mut Step<'_>) {
        let plan = self.serving.plan_of(slot).unwrap_or_else(|| self.serving.app.clone());
        let reason = shortened(reason.to_owned());
        let variables = [("SUPERVISOR_REASON".to_owned(), reason)].into();
        let kind = HookKind::OnRollback;
        self.begin_hook(Cause { kind, worker: None, slot, plan: &plan, variables }, step);
    }

    fn begin_hook(&mut self, cause: Cause<'_>, step: &mut Step<'_>) -> Option<WorkerId> {
        let Cause { kind, worker, slot, plan, variables } = cause;
        if !plan.spec.hooks.has(kind) {
            return None;
        }
        let (plan, until) = (plan.clone(), step.now);
        let hook = Hook { kind, worker, slot, plan, variables, until, runs: false, killed: None };
        if hook.is_awaited() || self.hooks.at_once() < MOST_AT_ONCE {
            return Some(self.run_hook(hook, step));
        }
        if self.hooks.waiting.len() < MOST_WAITING {
            self.hooks.waiting.push_back(hook);
        } else {
            let message = format!("{} was left out: {MOST_WAITING} hooks wait already", kind.key());
            step.publish(about_hook(&hook, message));
        }
        None
    }

    fn run_hook(&mut self, mut hook: Hook, step: &mut Step<'_>) -> WorkerId {
        let id = WorkerId(self.next_worker);
        self.next_worker += 1;
        hook.until = step.now + self.hooks.limit(&hook.plan);
        step.act(hook.order(id));
        self.hooks.running.insert(id, hook);
        id
    }

    /// Takes a cue about the process of a hook.
    pub(super) fn hook_cue(&mut self, id: WorkerId, cue: Cue, step: &mut Step<'_>) {
        let Some(hook) = self.hooks.running.get_mut(&id) else { return };
        let outcome = match cue {
            Cue::Spawned => {
                if !std::mem::replace(&mut hook.runs, true) && hook.killed.is_some() {
                    step.act(Action::Kill { worker: id });
                }
                return;
            }
            Cue::SpawnFailed { reason, permanent } => {
                Outcome::Failed { reason, permanent, last_lines: Vec::new() }
            }
            Cue::Exited { exit, last_lines, .. } => match (hook.killed, exit) {
                (None, Exit::Code(0)) => Outcome::Passed,
                (Some(Killed::Late), _) => {
                    let within = text::span(self.hooks.limit(&self.hooks.running[&id].plan));
                    let reason = format!("it did not end within {within} and was killed");
                    Outcome::Failed { reason, permanent: false, last_lines }
                }
                (None | Some(Killed::Unwanted), exit) => {
                    Outcome::Failed { reason: exit.to_string(), permanent: false, last_lines }
                }
            },
            Cue::BindAsked { .. }
            | Cue::BindRefused { .. }
            | Cue::Listening { .. }
            | Cue::ListensOnUnix { .. }
            | Cue::OwnSockets(_)
            | Cue::Closed { .. }
            | Cue::Leaving
            | Cue::RefusesValues { .. }
            | Cue::Notified(_)
            | Cue::Looked(_)
            | Cue::Gauged(_)
            | Cue::Used(_)
            | Cue::Probed { .. }
            | Cue::OutOfMemory => return,
        };
        self.hook_over(id, outcome, step);
    }

    /// The process of a hook is gone.
    fn hook_over(&mut self, id: WorkerId, outcome: Outcome, step: &mut Step<'_>) {
        step.act(Action::Release { worker: id });
        self.go_on_after(id, outcome, step);
    }

    /// A hook lives on although it was killed: nothing waits for it any more.
    fn abandon_hook(&mut self, id: WorkerId, step: &mut Step<'_>) {
        step.act(Action::Abandon { worker: id });
        let reason = format!(
            "it was killed and has not ended {} later: it has the rights of another user, or waits \
             in the kernel",
            text::span(LAST)
        );
        let outcome = Outcome::Failed { reason, permanent: false, last_lines: Vec::new() };
        self.go_on_after(id, outcome, step);
    }

    /// Nothing waits for a hook any more.
    fn go_on_after(&mut self, id: WorkerId, outcome: Outcome, step: &mut Step<'_>) {
        let Some(hook) = self.hooks.running.remove(&id) else { return };
        if hook.kind == HookKind::PreStart {
            self.prepared(&hook, outcome, step);
        } else if hook.kind == HookKind::ObserveCheck {
            self.canary_checked(id, hook.slot, outcome, step);
        } else {
            if let Outcome::Failed { reason, last_lines, .. } = outcome {
                let message = format!("{} failed: {reason}", hook.kind.key());
                step.publish(Notice { last_lines, ..about_hook(&hook, message) });
            }
            if hook.kind == HookKind::PreStop {
                self.taken_leave(hook.worker, step.now);
            }
        }
        let is_late = self.hooks.leaves_out(step.now);
        while self.hooks.at_once() < MOST_AT_ONCE
            && let Some(next) = self.hooks.waiting.pop_front()
        {
            if is_late {
                let message = format!("{} was left out: the app stops", next.kind.key());
                step.publish(about_hook(&next, message));
            } else {
                self.run_hook(next, step);
            }
        }
    }

    /// `pre_stop` of a worker has ended: its drain begins. While an app stops, all workers serve
    /// until the last `pre_stop` has ended: nobody else serves in the place of one that drains.
    fn taken_leave(&mut self, worker: Option<WorkerId>, now: Time) {
        if !self.serves_while_it_stops() {
            if let Some(worker) = worker.and_then(|id| self.workers.get_mut(&id)) {
                worker.taken_leave(now);
            }
        } else if !self.hooks.anyone_parts() {
            let waits = self.workers.values_mut().filter(|worker| worker.has_asked_for_leave());
            waits.for_each(|worker| worker.taken_leave(now));
        }
    }

    /// `pre_start` has ended: the worker's program starts, or the start has failed.
    fn prepared(&mut self, hook: &Hook, outcome: Outcome, step: &mut Step<'_>) {
        let Some(id) = hook.worker else { return };
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.prepares = None;
        let State::Spawning { doomed } = worker.state else { return };
        match outcome {
            _ if doomed => self.gone(id, End::never_was(), step),
            Outcome::Passed => {
                worker.started = step.now;
                self.order_spawn(id, step);
            }
            Outcome::Failed { reason, permanent, last_lines } => {
                let reason = format!("pre_start failed: {reason}");
                let end = End { last_lines, ..End::not_started(reason, permanent) };
                self.gone(id, end, step);
            }
        }
    }

    /// `observe_check` has ended.
    fn canary_checked(&mut self, id: WorkerId, slot: Slot, outcome: Outcome, step: &mut Step<'_>) {
        if !self.takes_check(id) {
            return;
        }
        if let Outcome::Failed { reason, last_lines, .. } = outcome {
            let reason = format!("observe_check failed: {reason}");
            self.turn_back(Failure { slot, reason, last_lines }, step);
        }
    }

    /// Kills the hooks that have had their time, and abandons those that the kill did not end.
    pub(super) fn end_late_hooks(&mut self, step: &mut Step<'_>) {
        for id in self.hooks.late(step.now) {
            match self.hooks.running.get_mut(&id) {
                Some(hook) if hook.killed.is_none() => hook.kill(id, Killed::Late, step),
                _ => self.abandon_hook(id, step),
            }
        }
    }

    /// Starts `pre_stop` for the workers that wait for it, and kills the hooks that nothing waits
    /// for any more.
    pub(super) fn settle_hooks(&mut self, step: &mut Step<'_>) {
        let doomed = |worker: &Worker| matches!(worker.state, State::Spawning { doomed: true });
        let unwanted: Vec<WorkerId> = self
            .workers
            .values()
            .filter(|worker| doomed(worker))
            .filter_map(|worker| worker.prepares)
            .chain(self.hooks.checks().filter(|id| !self.awaits_check(*id)))
            .collect();
        for id in unwanted {
            if let Some(hook) = self.hooks.running.get_mut(&id)
                && hook.killed.is_none()
            {
                hook.kill(id, Killed::Unwanted, step);
            }
        }
        let leaving: Vec<WorkerId> = self
            .workers
            .values_mut()
            .filter_map(|worker| worker.asks_for_leave().then_some(worker.id))
            .collect();
        for id in leaving {
            self.about(id, HookKind::PreStop, step);
        }
    }

    /// Whether a worker waits for its `pre_stop`.
    pub(super) fn anyone_takes_leave(&self) -> bool {
        self.workers.values().any(Worker::takes_leave)
    }

    /// Goes on with the hooks of a core that was restored. `found`: the processes that exist.
    pub(super) fn resume_hooks(&mut self, found: impl Fn(WorkerId) -> bool, step: &mut Step<'_>) {
        for id in self.hooks.ids().collect::<Vec<_>>() {
            let Some(hook) = self.hooks.running.get_mut(&id) else { continue };
            hook.until = hook.until.max(step.now + GRACE.min(hook.plan.spec.hooks.timeout));
            if found(id) {
                if hook.runs && hook.killed.is_some() {
                    step.act(Action::Kill { worker: id });
                }
            } else if !hook.runs && hook.killed.is_none() {
                // Its process was not started, or never came to run its program.
                step.act(hook.order(id));
            } else {
                let reason = "it was gone when the supervisor came back".to_owned();
                let outcome = Outcome::Failed { reason, permanent: false, last_lines: Vec::new() };
                self.hook_over(id, outcome, step);
            }
        }
    }
}

impl Hook {
    fn kill(&mut self, id: WorkerId, why: Killed, step: &mut Step<'_>) {
        self.killed = Some(why);
        self.until = step.now + LAST;
        if self.runs {
            step.act(Action::Kill { worker: id });
        }
    }
}

/// A warning about a hook.
fn about_hook(hook: &Hook, message: String) -> Notice {
    Notice {
        slot: Some(hook.slot.0),
        worker: hook.worker.map(|worker| worker.0),
        generation: Some(hook.plan.generation.0),
        ..Notice::of_app(NoticeKind::Warning, message)
    }
}

/// Whether the worker did not end as it should.
fn has_failed(worker: &Worker, end: &End, now: Time) -> bool {
    let is_done = end.own_code().is_some_and(|code| worker.plan.spec.restart.is_done(code));
    match end.kind {
        EndKind::Told => false,
        EndKind::Died => !is_done && !worker.left_well(end, now),
        EndKind::Failed(_) | EndKind::NotStarted { .. } => true,
    }
}

/// Whether anything of the worker ever ran.
fn has_begun(worker: &Worker, end: &End) -> bool {
    let has_run = end.exit.is_some() || !matches!(worker.state, State::Spawning { .. });
    has_run || worker.plan.spec.hooks.has(HookKind::PreStart)
}

/// An environment has bounds, and a reason may quote what a program wrote.
fn shortened(mut reason: String) -> String {
    if reason.len() > MOST_REASON {
        let end = (0..=MOST_REASON).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
        reason.truncate(end);
    }
    reason.replace('\0', "")
}
