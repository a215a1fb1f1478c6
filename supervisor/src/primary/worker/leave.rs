//! How a worker goes: retired, told to stop, killed; and how it is taken back.

use std::time::Duration;

use config::spec::HookKind;
use ipc::control::NoticeKind;

use super::drain::{Drain, Next};
use super::early::{self, Early};
use super::hang::Watch;
use super::state::State;
use crate::base::on_stop::OnStop;
use crate::base::time::Time;
use crate::primary::action::Action;
use crate::primary::messages;
use crate::primary::step::Step;
use crate::primary::worker::Worker;
use crate::primary::worker::end::Cause;

/// Signal numbers that mean the same to every program.
pub(in crate::primary) const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;

impl Worker {
    /// Retires the worker without losing its connections. New ones already go elsewhere.
    pub(in crate::primary) fn retire(&mut self, within: Duration, step: &mut Step<'_>) {
        match &mut self.state {
            State::Spawning { doomed } => *doomed = true,
            State::Starting { .. } if self.bound.is_empty() && self.lent.is_empty() => {
                self.stop(self.plan.spec.times.kill_timeout, step);
            }
            State::Ready if self.plan.spec.hooks.has(HookKind::PreStop) => {
                step.act(Action::EndKept { worker: self.id, ends: true });
                step.act(Action::BusDrain { worker: self.id });
                let message = "gets no new connections; \"pre_stop\" runs".to_owned();
                step.publish(messages::about(self, NoticeKind::WorkerDraining, message));
                let limit = step.now + self.plan.spec.hooks.timeout;
                self.state = State::Draining(Drain::held(step.now, within, limit, self.shares));
            }
            State::Starting { .. } | State::Ready if self.shares => {
                let message = "shares its socket and stops when it has nothing in flight";
                step.act(Action::BusDrain { worker: self.id });
                step.publish(messages::about(self, NoticeKind::WorkerDraining, message.to_owned()));
                step.act(Action::EndKept { worker: self.id, ends: true });
                self.state = State::Draining(Drain::of_sharer(step.now, within));
            }
            State::Starting { .. } | State::Ready => {
                step.act(Action::EndKept { worker: self.id, ends: true });
                step.act(Action::Look { worker: self.id });
                let message = "gets no new connections".to_owned();
                step.act(Action::BusDrain { worker: self.id });
                step.publish(messages::about(self, NoticeKind::WorkerDraining, message));
                self.state = State::Draining(Drain::new(step.now, within));
            }
            State::Draining(drain) => drain.until = drain.until.min(step.now + within),
            State::Killing { .. } => {}
        }
    }

    /// Whether its `pre_stop` is to be started now. It is asked for once.
    pub(in crate::primary) fn asks_for_leave(&mut self) -> bool {
        self.takes_leave() && !std::mem::replace(&mut self.took_leave, true)
    }

    /// Whether its drain waits for its `pre_stop`, and that has been asked for.
    pub(in crate::primary) fn has_asked_for_leave(&self) -> bool {
        self.takes_leave() && self.took_leave
    }

    /// Whether its drain waits for its `pre_stop`.
    pub(in crate::primary) fn takes_leave(&self) -> bool {
        matches!(&self.state, State::Draining(drain) if drain.is_held())
    }

    /// Its `pre_stop` has ended, or has had its time: its drain begins.
    pub(in crate::primary) fn taken_leave(&mut self, now: Time) {
        if let State::Draining(drain) = &mut self.state {
            drain.release(now);
        }
    }

    fn is_frozen(&self) -> bool {
        matches!(&self.state, State::Draining(drain) if drain.is_frozen())
    }

    pub(in crate::primary) fn go_on_draining(&mut self, next: Next, step: &mut Step<'_>) {
        let signal = |signal| Action::Signal { worker: self.id, signal, group: true };
        match next {
            Next::Wait => {}
            Next::Look => step.act(Action::Look { worker: self.id }),
            Next::Freeze => step.act(signal(SIGSTOP)),
            Next::Thaw => step.act(signal(SIGCONT)),
            Next::Stop => {
                if let State::Draining(Drain { told: Some(_), .. }) = self.state {
                    self.finished = Some(true);
                }
                self.stop(self.plan.spec.times.kill_timeout, step);
            }
        }
    }

    /// Whether [`Worker::recall`] can take it back.
    pub(in crate::primary) fn can_be_recalled(&self) -> bool {
        let drains = matches!(&self.state, State::Draining(drain) if drain.told.is_none());
        // What `pre_stop` has undone is not done again.
        drains && self.ready_since.is_some() && !self.took_leave
    }

    /// Takes back a [`Worker::retire`] that has not come to the stop signal. Whether it could.
    pub(in crate::primary) fn recall(&mut self, step: &mut Step<'_>) -> bool {
        let can = self.can_be_recalled();
        if can {
            if self.is_frozen() {
                self.go_on_draining(Next::Thaw, step);
            }
            step.act(Action::EndKept { worker: self.id, ends: false });
            self.recalled = Some(step.now);
            self.state = State::Ready;
            self.watch = Watch::new(step.now, self.plan.spec.times.hang_timeout);
        }
        can
    }

    /// Where its connections stay busy it gets its stop signal now, if that is known to be of use.
    pub(in crate::primary) fn lose_patience(&mut self, on_stop: OnStop, step: &mut Step<'_>) {
        let spec = &self.plan.spec;
        let patience = early::patience(spec.times.drain_patience, self.is_proven);
        let State::Draining(drain) = &mut self.state else { return };
        if drain.decided.is_some() || !drain.stays_busy(patience, step.now) {
            return;
        }
        let early = Early::decide(spec.graceful, on_stop, self.finishes);
        drain.decided = Some(early);
        let message = messages::stays_busy(early, drain, spec, step.now);
        let kind = match early {
            Early::Told(_) => {
                drain.told = Some(step.now);
                step.act(Action::Stop { worker: self.id });
                NoticeKind::WorkerStopping
            }
            Early::Waits(_) => NoticeKind::WorkerDraining,
        };
        step.publish(messages::about(self, kind, message));
    }

    /// The stop signal or message now, unless it has got it, SIGKILL after `patience`.
    pub(in crate::primary) fn stop(&mut self, patience: Duration, step: &mut Step<'_>) {
        let latest = step.now + patience;
        match &mut self.state {
            State::Spawning { doomed } => *doomed = true,
            State::Draining(Drain { told: Some(told), .. }) => {
                let (since, deadline) = (*told, Some(latest));
                self.state = State::Killing { since, deadline, cause: Cause::Told, killed: None };
            }
            State::Starting { .. } | State::Ready | State::Draining(_) => {
                step.act(Action::Stop { worker: self.id });
                if self.is_frozen() {
                    // Only now, with the stop signal pending ahead of anything else it could do.
                    step.act(Action::Signal { worker: self.id, signal: SIGCONT, group: true });
                }
                let idle = if let State::Draining(drain) = &self.state { drain.idle() } else { 0 };
                let message = messages::stopping(&self.plan.spec, idle);
                step.publish(messages::about(self, NoticeKind::WorkerStopping, message));
                let (since, deadline) = (step.now, Some(latest));
                self.state = State::Killing { since, deadline, cause: Cause::Told, killed: None };
            }
            State::Killing { deadline, .. } => *deadline = deadline.map(|at| at.min(latest)),
        }
    }

    /// SIGKILL now.
    pub(in crate::primary) fn kill(&mut self, why: Cause, step: &mut Step<'_>) {
        match &mut self.state {
            State::Spawning { doomed } => *doomed = true,
            State::Starting { .. } | State::Ready | State::Draining(_) => {
                step.act(Action::Kill { worker: self.id });
                self.state = State::killed(step.now, why);
            }
            State::Killing { deadline, killed, .. } => {
                if deadline.take().is_some() {
                    *killed = Some(step.now);
                    step.act(Action::Kill { worker: self.id });
                }
            }
        }
    }
}
