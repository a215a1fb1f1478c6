//! A hard restart: all workers are stopped, then all are started. Connections wait meanwhile, for
//! the listeners stay.

use ipc::control::{FailureKind, Reply};
use serde::{Deserialize, Serialize};

use super::start::Outlook;
use crate::base::ids::ClientId;
use crate::base::time::Time;
use crate::primary::action::Action;
use crate::primary::messages;
use crate::primary::slots::Seat;
use crate::primary::slots::pools::Pools;
use crate::primary::{Job, Primary, Step};

/// A hard restart under way.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::primary) struct HardRestart {
    pub(in crate::primary) clients: Vec<ClientId>,
    pub(in crate::primary) to: Pools,
    pub(in crate::primary) stage: Stage,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::primary) enum Stage {
    /// `Action::OpenListeners` is under way; nothing is stopped before it succeeds.
    Opening,
    Stopping,
    /// Readiness is waited for until then.
    Starting {
        until: Time,
    },
}

impl HardRestart {
    pub(in crate::primary) fn until(&self) -> Option<Time> {
        match self.stage {
            Stage::Starting { until } => Some(until),
            Stage::Opening | Stage::Stopping => None,
        }
    }

    /// Seats that become empty stay empty for now.
    pub(in crate::primary) fn empties(&self) -> bool {
        matches!(self.stage, Stage::Stopping)
    }
}

impl Job {
    /// Seats that become empty stay empty for now.
    pub(in crate::primary) fn empties(&self) -> bool {
        match self {
            Self::Hard(hard) => hard.empties(),
            Self::Rollout(_) | Self::Scale(_) => false,
        }
    }
}

impl Primary {
    pub(in crate::primary) fn begin_hard(
        &mut self,
        to: Pools,
        clients: Vec<ClientId>,
        step: &mut Step<'_>,
    ) {
        let opening = self.must_open(&to);
        if opening {
            step.act(Action::OpenListeners { spec: to.spec.clone() });
        }
        self.job = Some(Job::Hard(HardRestart { clients, to, stage: Stage::Opening }));
        if !opening {
            self.hard_opened(Ok(()), step);
        }
    }

    /// The addresses that the new spec adds are open, or cannot be.
    pub(in crate::primary) fn hard_opened(
        &mut self,
        result: Result<(), String>,
        step: &mut Step<'_>,
    ) {
        let Some(Job::Hard(hard)) = &mut self.job else { return };
        if let Err(reason) = result {
            let reason = messages::reload_refused(&self.serving, &reason);
            let reply = messages::failed(FailureKind::Failed, reason, &[]);
            step.answer_all(&hard.clients, &reply);
            self.job = None;
            return;
        }
        hard.stage = Stage::Stopping;
        for state in self.slots.values_mut() {
            if matches!(state.seat, Seat::Waiting { .. }) {
                state.seat = Seat::Empty;
            }
        }
        for worker in self.workers.values_mut() {
            worker.stop(worker.plan.spec.times.kill_timeout, step);
        }
    }

    pub(in crate::primary) fn advance_hard(&mut self, step: &mut Step<'_>) -> bool {
        let Some(Job::Hard(hard)) = &mut self.job else { return false };
        match hard.stage {
            Stage::Opening => false,
            Stage::Stopping if !self.workers.is_empty() => false,
            Stage::Stopping => {
                let to = hard.to.clone();
                hard.stage = Stage::Starting { until: step.now + to.patience() };
                self.begin_slots_anew(to, step);
                false
            }
            Stage::Starting { until } => {
                let reply = match self.outlook(..) {
                    Outlook::Ready => Reply::done(messages::restarted(&self.serving)),
                    Outlook::Failed { reason, last_lines } => {
                        messages::failed(FailureKind::Failed, reason, &last_lines)
                    }
                    Outlook::Open if until <= step.now => {
                        let reason = messages::start_timed_out(&self.serving, self.ready_count());
                        messages::failed(FailureKind::TimedOut, reason, &[])
                    }
                    Outlook::Open => return false,
                };
                if let Some(Job::Hard(hard)) = self.job.take() {
                    step.answer_all(&hard.clients, &reply);
                }
                true
            }
        }
    }
}
