//! Watches the files of the app (`watch`), and tells the core when changes of them are to lead to a
//! reload. The watching is the business of another process: it looks through folders, which may be
//! many and slow. `policy::file_watch` says when the reload begins.

mod messages;
mod turn;

use std::path::PathBuf;
use std::sync::Arc;

use config::spec::{AppSpec, WatchSpec};
use ipc::control::WatchStatus;

pub(crate) use self::messages::{Order, Report};

use super::context::Context;
use super::lasting_helper::LastingHelper;
use super::source::Source;
use crate::base::time::Time;
use crate::policy::file_watch::{Changes, FileWatch as Policy, Stance};
use crate::sys::clock;

/// The verb of the process that watches.
const VERB: &str = "file-watcher";

/// See the module.
#[derive(Debug)]
pub(super) struct FileWatch {
    policy: Policy,
    helper: LastingHelper,
    /// What the helper is to watch. `None`: nothing.
    wanted: Option<Wanted>,
    /// The spec that it was made from.
    made_of: Option<Arc<AppSpec>>,
    status: WatchStatus,
}

/// What of a spec decides what is watched.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    watch: WatchSpec,
    folder: PathBuf,
    arguments: Vec<String>,
    leave_out: Vec<PathBuf>,
}

impl Wanted {
    fn of(spec: &AppSpec, own_folders: [PathBuf; 3]) -> Option<Self> {
        spec.watch.paths.as_ref()?;
        let own_files = spec.logs.out_file.iter().chain(&spec.logs.error_file).cloned();
        Some(Self {
            watch: spec.watch.clone(),
            folder: spec.cwd.clone(),
            arguments: spec.command.get(1..).unwrap_or_default().to_vec(),
            leave_out: own_files.chain(own_folders).collect(),
        })
    }
}

impl FileWatch {
    /// `done_until`: see [`Policy::done_until`]; as a primary before left it.
    pub(super) fn new(done_until: Option<u64>) -> Self {
        Self {
            policy: Policy::resumed(done_until),
            helper: LastingHelper::new(VERB, Source::FileWatcher),
            wanted: None,
            made_of: None,
            status: WatchStatus::default(),
        }
    }

    /// What a successor needs.
    pub(super) fn done_until(&self) -> Option<u64> {
        self.policy.done_until()
    }

    /// As people see it. `None`: no file is watched.
    pub(super) fn status(&self) -> Option<WatchStatus> {
        self.wanted.is_some().then(|| self.status.clone())
    }

    /// When a reload is due, or the helper is to be started again.
    fn deadline(&self, spec: &AppSpec, stance: Stance) -> Option<Time> {
        self.wanted.as_ref()?;
        let again = match self.helper.is_running() {
            true => None,
            false => self.helper.ready_at(),
        };
        self.policy.deadline(stance, spec.watch.delay).into_iter().chain(again).min()
    }

    /// Watches what the spec wants from now on.
    fn adjust(
        &mut self,
        at: &mut Context<'_>,
        now: Time,
        spec: Arc<AppSpec>,
        own_folders: [PathBuf; 3],
    ) {
        let wanted = Wanted::of(&spec, own_folders);
        self.made_of = Some(spec);
        if self.wanted == wanted {
            return;
        }
        self.helper.dismiss(at.poller, now);
        self.status = WatchStatus::default();
        match wanted {
            Some(_) => self.policy.begin(clock::unix_ms()),
            None => self.policy.end(),
        }
        self.wanted = wanted;
        *at.stale = true;
    }

    /// Watches nothing while the app is stopped.
    fn pause(&mut self, at: &mut Context<'_>, now: Time) {
        if self.wanted.take().is_some() {
            self.helper.dismiss(at.poller, now);
            self.policy.end();
            *at.stale = true;
        }
        self.made_of = None;
    }

    /// Starts the helper, if it may be started.
    fn order(&mut self, at: &mut Context<'_>, now: Time) {
        let Some(wanted) = &self.wanted else { return };
        if !self.helper.is_up(at.poller, now) {
            return;
        }
        let order = Order {
            folder: wanted.folder.clone(),
            paths: wanted.watch.paths.clone().unwrap_or_default(),
            arguments: wanted.arguments.clone(),
            ignore: wanted.watch.ignore.clone(),
            leave_out: wanted.leave_out.clone(),
            since_ms: self.policy.unknown_since().unwrap_or_else(clock::unix_ms),
        };
        if let Err(error) = self.helper.send(&order, None) {
            self.lose(at, now, &error.to_string());
        }
    }

    /// The helper is of no use any more. The next one looks for what this one has not reported.
    fn lose(&mut self, at: &mut Context<'_>, now: Time, why: &str) {
        self.helper.end(at.poller, now);
        if self.helper.is_hopeless() {
            self.status.problem = Some(format!("cannot watch the files: {why}"));
            at.note(format!("cannot watch the files of the app, and tries again: {why}"));
        }
    }

    fn take(&mut self, at: &mut Context<'_>, now: Time, report: Report) {
        let Report { folders, named, more, problem, known_until_ms } = report;
        if let Some(problem) =
            problem.as_ref().filter(|new| self.status.problem.as_ref() != Some(new))
        {
            at.note(problem.clone());
        }
        self.status = WatchStatus { folders: Some(folders), problem };
        let changes = Changes { named: named.into_iter().collect(), more };
        self.policy.report(now, changes, known_until_ms);
        *at.stale = true;
    }
}
