//! What is left on disk of a running app, so that its workers can be recognised if the primary
//! dies: their pids with their start times (a pid alone may have been given to another process).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::time::Duration;

use config::spec::AppSpec;

use super::Child;
use crate::base::ids::WorkerId;
use crate::base::time::Time;
use crate::home::{Home, Record, RecordedWorker};
use crate::sys::{clock, procfs};

/// The record as it was last written, and the lock that says that the app's name is ours.
#[derive(Debug)]
pub(crate) struct Recorder {
    home: Home,
    lock: File,
    written: Option<Record>,
    /// When it is looked next whether the files are there.
    due: Time,
}

/// After how long it is looked again whether the files are there.
const LOOK: Duration = Duration::from_secs(2);

impl Recorder {
    /// For an app whose lock this is.
    pub(crate) fn new(home: Home, lock: File) -> Self {
        Self { home, lock, written: None, due: clock::now() + LOOK }
    }

    /// Where everything of the app is.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Says that the name is ours.
    pub(crate) fn lock(&self) -> &File {
        &self.lock
    }

    /// When [`Recorder::keep_files`] is to be called.
    pub(crate) fn due(&self) -> Time {
        self.due
    }

    /// Makes the folders and the lock again if somebody removed them (logind does, at the last
    /// logout), and has [`Recorder::update`] write the record again. Whether the lock is another
    /// file now. An error: the app cannot be found by its name.
    pub(crate) fn keep_files(&mut self, name: &str) -> Result<bool, String> {
        self.due = clock::now() + LOOK;
        self.home.prepare().map_err(|error| error.to_string())?;
        if !self.home.record(name).exists() {
            self.written = None;
        }
        let files = self.home.files(name);
        if files.is_lock(&self.lock) {
            return Ok(false);
        }
        let path = files.lock();
        match files.take_lock() {
            Ok(Some(lock)) => {
                self.lock = lock;
                Ok(true)
            }
            Ok(None) => Err(format!("another process holds the lock {}", path.display())),
            Err(error) => Err(format!("cannot take the lock {}: {error}", path.display())),
        }
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
        let pid = std::process::id();
        let record = Record {
            primary_start_time: procfs::start_time(pid),
            run: Some(self.home.run().to_owned()),
            ..Record::new(pid, workers, spec.clone())
        };
        let result = self.home.write_record(&spec.name, &record);
        // Remembered also where it failed: it is tried again when something changes, not in
        // every turn.
        self.written = Some(record);
        result
    }
}
