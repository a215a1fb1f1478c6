//! A hard restart: the primary stops all workers, then starts all of them. The listeners stay open,
//! so connections wait meanwhile.

use ipc::control::{FailureKind, Reply};

use super::state::Outlook;
use super::state::{HardRestart, Stage};
use crate::base::ids::ClientId;
use crate::primary::action::Action;
use crate::primary::messages;
use crate::primary::slots::pools::Pools;
use crate::primary::slots::slot::Seat;
use crate::primary::{Job, Primary, Step};

impl Job {
    /// Whether empty seats stay empty for now.
    pub(in crate::primary) fn empties(&self) -> bool {
        match self {
            Self::Hard(hard) => hard.empties(),
            Self::Rollout(_) | Self::Scale(_) | Self::Recycle(_) => false,
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

    /// The addresses that the new spec adds are open, or cannot be opened.
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
            if state.seat.due().is_some() {
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
                    Outlook::Ready => {
                        let unlike = self.unlike_workers();
                        let restarted = messages::restarted(&self.serving);
                        Reply::done(messages::with_notes(restarted, &unlike))
                    }
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
