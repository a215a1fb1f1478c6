//! What a client may do with the rollout under way: pause it, resume it, abort it.
//!
//! A pause ends the slot that is being replaced and begins no other one. The new workers stay
//! observed, so a failure still turns the rollout round. A pause has an end: a rollout that nobody
//! resumes is aborted, since recycling and other changes wait for it. An abort goes back as a
//! failure does (`rollback`).

use std::time::Duration;

use ipc::control::{FailureKind, LONGEST_PAUSE, Notice, NoticeKind, Reply, RolloutCommand};

use super::state::{Course, Failure, Pause, Rollout};
use crate::base::ids::{ClientId, Slot};
use crate::primary::action::Action;
use crate::primary::messages::{self, rollout as said};
use crate::primary::{Job, Phase, Primary, Step};

impl Primary {
    pub(in crate::primary) fn request_rollout(
        &mut self,
        client: ClientId,
        command: &RolloutCommand,
        step: &mut Step<'_>,
    ) {
        let Self { phase, job, serving, merging, .. } = self;
        let Some(rollout) = under_way(phase, job) else {
            let (kind, reason) = match merging {
                Some(_) => (FailureKind::Failed, said::rollout_is_to_come(serving)),
                None => (FailureKind::Usage, said::no_rollout(serving)),
            };
            return step.answer(client, messages::failed(kind, reason, &[]));
        };
        let goes_back = rollout.goes_back();
        let refusal = match (&rollout.course, command) {
            (Course::Shrinking, _) => {
                Some(said::serves_already(serving, rollout.leading(&rollout.to)))
            }
            (_, RolloutCommand::Pause { .. } | RolloutCommand::Resume) if goes_back => {
                Some(said::goes_back_already(serving))
            }
            (_, RolloutCommand::Resume) if rollout.pause.is_none() => {
                Some(said::is_not_paused(serving))
            }
            (Course::Opening | Course::Forward | Course::Back { .. }, _) => None,
        };
        if let Some(reason) = refusal {
            return step.answer(client, messages::failed(FailureKind::Failed, reason, &[]));
        }
        let (event, message) = match command {
            RolloutCommand::Abort => {
                step.act(Action::Subscribe { client });
                rollout.aborting.push(client);
                if !goes_back {
                    rollout.aborted = Some(said::ABORTED.to_owned());
                }
                return;
            }
            RolloutCommand::Pause { for_ms } => {
                let within = Duration::from_millis((*for_ms).max(1)).min(LONGEST_PAUSE);
                rollout.pause = Some(Pause { since: step.now, until: step.now + within });
                (NoticeKind::ReloadPaused, said::paused(serving, rollout, within))
            }
            RolloutCommand::Resume => {
                rollout.pause = None;
                (NoticeKind::ReloadResumed, said::resumed(serving, rollout))
            }
        };
        step.publish(Notice::of_app(event, message.clone()));
        step.answer(client, Reply::done(message));
    }

    /// Whether the rollout under way replaces no further slot.
    pub(in crate::primary) fn is_paused(&self) -> bool {
        let goes_on = |course: &Course| matches!(course, Course::Opening | Course::Forward);
        matches!(&self.job, Some(Job::Rollout(rollout))
            if rollout.pause.is_some() && goes_on(&rollout.course))
    }

    /// Turns a rollout round that was aborted, or paused for too long.
    pub(in crate::primary) fn abort_if_due(&mut self, step: &mut Step<'_>) -> bool {
        let Some(Job::Rollout(rollout)) = &mut self.job else { return false };
        if !matches!(rollout.course, Course::Forward) {
            return false;
        }
        if let Some(pause) = rollout.pause.filter(|pause| pause.until <= step.now) {
            let reason = said::paused_too_long(pause.until.since(pause.since));
            rollout.aborted.get_or_insert(reason);
        }
        let Some(reason) = rollout.aborted.clone() else { return false };
        let slot = self.slot_of_abort();
        self.turn_back(Failure { slot, reason, last_lines: Vec::new() }, step);
        true
    }

    /// The slot that an aborted rollout had come to.
    fn slot_of_abort(&self) -> Slot {
        let Some(Job::Rollout(rollout)) = &self.job else { return Slot(0) };
        let generation = rollout.generation();
        let new = || self.wanted().filter(|(_, state)| state.plan.generation == generation);
        let under_way = self.successor().map(|(slot, _)| slot);
        let reached = under_way.or_else(|| new().last().map(|(slot, _)| slot));
        let named = reached.or(rollout.slot);
        let first = || rollout.only.map_or(Slot(0), |pool| pool.slots_from(0).start);
        named.unwrap_or_else(first)
    }
}

/// The rollout of an app that runs.
fn under_way<'j>(phase: &Phase, job: &'j mut Option<Job>) -> Option<&'j mut Rollout> {
    match (phase, job) {
        (Phase::Running, Some(Job::Rollout(rollout))) => Some(rollout.as_mut()),
        (
            Phase::Running
            | Phase::Opening
            | Phase::Stopping(_)
            | Phase::Stopped
            | Phase::Over { .. },
            _,
        ) => None,
    }
}

impl Rollout {
    /// Whether it goes back, or is about to.
    fn goes_back(&self) -> bool {
        self.aborted.is_some() || matches!(self.course, Course::Back { .. })
    }
}
