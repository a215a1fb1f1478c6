//! What the watch has to do in each turn of the loop.

use std::path::Path;
use std::sync::Arc;

use config::spec::AppSpec;

use crate::base::time::Time;
use crate::policy::file_watch::{Changes, Due, Stance};
use crate::primary::event::Event;
use crate::runtime::Runtime;
use crate::runtime::context::context;
use crate::sys::clock;

/// Reports that are read in a turn.
const REPORTS_PER_TURN: usize = 16;

impl Runtime {
    /// Begins a reload if files have changed, and keeps the process that watches alive.
    pub(in crate::runtime) fn look_after_file_watch(&mut self, now: Time) {
        let stance = self.watch_stance();
        self.file_watch.helper.reap();
        let is_known = |made_of: &Arc<AppSpec>| Arc::ptr_eq(made_of, self.core.spec());
        if stance == Stance::Stopped {
            self.file_watch.pause(context!(self), now);
        } else if !self.file_watch.made_of.as_ref().is_some_and(is_known) {
            let spec = Arc::clone(self.core.spec());
            let own = self.recorder.home().folders().map(Path::to_owned);
            self.file_watch.adjust(context!(self), now, spec, own);
        }
        if !self.file_watch.helper.is_running() {
            self.file_watch.order(context!(self), now);
        }
        let delay = self.core.spec().watch.delay;
        if let Some(Due { changes, written }) = self.file_watch.policy.due(now, stance, delay) {
            if let Some(files) = written {
                let files: Vec<String> = files.into_iter().collect();
                let files = files.join(", ");
                context!(self).warn(format!(
                    "{files} changed during each of the last reloads, so one reload follows the \
                     other; if the app writes there itself, add it to watch_ignore"
                ));
            }
            let Changes { named, more } = changes;
            let named = named.into_iter().collect();
            self.events.inbox.push_back(Event::FilesChanged { named, more });
        }
    }

    /// When that has something to do.
    pub(in crate::runtime) fn file_watch_deadline(&self) -> Option<Time> {
        self.file_watch.deadline(self.core.spec(), self.watch_stance())
    }

    /// The process that watches has reported something, or ended.
    pub(in crate::runtime) fn take_file_reports(&mut self) {
        let now = clock::now();
        for _ in 0..REPORTS_PER_TURN {
            match self.file_watch.helper.receive() {
                Ok(Some(report)) => self.file_watch.take(context!(self), now, report),
                Ok(None) => return,
                Err(error) => {
                    return self.file_watch.lose(context!(self), now, &error.to_string());
                }
            }
        }
    }

    fn watch_stance(&self) -> Stance {
        match (self.core.is_running(), self.core.is_changing()) {
            (false, _) => Stance::Stopped,
            (true, true) => Stance::Busy,
            (true, false) => Stance::Free,
        }
    }
}
