//! Replacements by the calendar: the runtime says when one is due, and the core replaces all
//! workers as a reload does.

use ipc::control::{Notice, NoticeKind};

use super::state::Wish;
use crate::primary::event::Scheduled;
use crate::primary::messages;
use crate::primary::{Job, Phase, Primary, Step};

impl Primary {
    /// What the runtime planned last. It outlives the runtime.
    pub(crate) fn scheduled(&self) -> Option<&Scheduled> {
        self.scheduled.as_ref()
    }

    /// Handles the news of a schedule.
    pub(in crate::primary) fn schedule(
        &mut self,
        planned: Option<Scheduled>,
        is_due: bool,
        step: &mut Step<'_>,
    ) {
        self.scheduled = planned;
        let Some(Scheduled { cron, .. }) = self.scheduled.as_ref().filter(|_| is_due) else {
            return;
        };
        if !matches!(self.phase, Phase::Running) || !self.is_alive() {
            return;
        }
        let replaces_all = self.replaces_all();
        let message = messages::schedule_is_due(cron, replaces_all);
        step.publish(Notice::of_app(NoticeKind::ScheduleDue, message));
        if !replaces_all {
            let wish = Wish::Replace { hard: false, spec: None, pool: None };
            self.enqueue(wish, None, step);
        }
    }

    /// Whether all workers are being replaced, or are about to be.
    fn replaces_all(&self) -> bool {
        let now = match &self.job {
            Some(Job::Rollout(rollout)) => rollout.only.is_none(),
            Some(Job::Hard(_)) => true,
            Some(Job::Scale(_) | Job::Recycle(_)) | None => false,
        };
        let waits = |wish: &Wish| match wish {
            Wish::Replace { pool, .. } => pool.is_none(),
            Wish::ReplaceAtOnce { .. } => true,
            Wish::Rollback
            | Wish::ReplaceWorker { .. }
            | Wish::Configure { .. }
            | Wish::Scale { .. } => false,
        };
        now || self.merging.is_some() || self.queue.iter().any(|pending| waits(&pending.wish))
    }
}
