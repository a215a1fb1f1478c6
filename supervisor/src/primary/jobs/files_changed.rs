//! Replacements because watched files have changed. When one is asked for is decided before
//! (`policy::file_watch`); the core replaces all workers as a reload does.

use ipc::control::{Notice, NoticeKind};

use super::state::Wish;
use crate::primary::messages;
use crate::primary::{Phase, Primary, Step};

impl Primary {
    /// Whether the app runs, or tries to.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Opening | Phase::Running)
    }

    /// Whether the app is being changed, so that a further change would wait.
    pub(crate) fn is_changing(&self) -> bool {
        let waits = !self.queue.is_empty() || self.merging.is_some();
        self.job.is_some() || waits || matches!(self.phase, Phase::Opening)
    }

    /// Replaces all workers. An app whose workers have all failed is started anew: its files may
    /// be right now.
    pub(in crate::primary) fn files_changed(
        &mut self,
        named: &[String],
        more: u32,
        step: &mut Step<'_>,
    ) {
        if !self.is_running() {
            return;
        }
        let message = messages::files_changed(named, more);
        step.publish(Notice::of_app(NoticeKind::FilesChanged, message));
        self.enqueue(Wish::Replace { hard: false, spec: None, pool: None }, None, step);
    }
}
