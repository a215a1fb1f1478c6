//! What is left on disk of a running app, so that its workers can be recognised if the primary
//! dies: their pids with their start times (a pid alone may have been given to another process).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use config::spec::AppSpec;

use super::Child;
use crate::base::ids::WorkerId;
use crate::home::{Home, Record, RecordedWorker};
use crate::sys::procfs;

/// The record as it was last written, and the lock that says that the app's name is ours.
#[derive(Debug)]
pub(crate) struct Recorder {
    home: Home,
    lock: File,
    written: Option<Record>,
}

impl Recorder {
    /// For an app whose lock this is.
    pub(crate) fn new(home: Home, lock: File) -> Self {
        Self { home, lock, written: None }
    }

    /// Where everything of the app is.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Says that the name is ours.
    pub(crate) fn lock(&self) -> &File {
        &self.lock
    }

    /// Brings the file up to date, if anything changed.
    pub(crate) fn update(
        &mut self,
        spec: &AppSpec,
        children: &BTreeMap<WorkerId, Child>,
    ) -> io::Result<()> {
        let known = |child: &Child| {
            let written = self.written.as_ref()?;
            written.workers.iter().find(|worker| worker.pid == child.pid.0).copied()
        };
        let workers = children.values().filter(|child| child.ended.is_none()).filter_map(|child| {
            known(child).or_else(|| {
                Some(RecordedWorker {
                    pid: child.pid.0,
                    start_time: procfs::start_time(child.pid.0)?,
                    slot: child.slot.0,
                    generation: child.generation.0,
                })
            })
        });
        let workers: Vec<RecordedWorker> = workers.collect();
        let unchanged = |written: &Record| written.workers == workers && written.spec == *spec;
        if self.written.as_ref().is_some_and(unchanged) {
            return Ok(());
        }
        let record = Record { primary_pid: std::process::id(), workers, spec: spec.clone() };
        let result = self.home.write_record(&spec.name, &record);
        // Remembered also where it failed: it is tried again when something changes, not in
        // every turn.
        self.written = Some(record);
        result
    }
}
