//! What is left on disk of a running app, so that its workers can be recognised if the primary
//! dies: their pids with their start times (a pid alone may have been given to another process).

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use config::spec::AppSpec;
use serde::{Deserialize, Serialize};

use super::children::Child;
use crate::primary::ids::WorkerId;
use crate::sys::procfs;

/// The record of one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) primary_pid: u32,
    pub(crate) workers: Vec<RecordedWorker>,
    pub(crate) spec: AppSpec,
}

/// One worker in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedWorker {
    pub(crate) pid: u32,
    /// Field 22 of /proc/PID/stat.
    pub(crate) start_time: u64,
    pub(crate) slot: u16,
    pub(crate) generation: u32,
}

/// The record's place and what stands there now.
#[derive(Debug)]
pub(crate) struct Recorder {
    path: PathBuf,
    written: Option<Record>,
}

impl Recorder {
    /// For the record at `path`.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, written: None }
    }

    /// Brings the file up to date, if anything changed.
    pub(crate) fn update(
        &mut self,
        spec: &AppSpec,
        children: &BTreeMap<WorkerId, Child>,
    ) -> io::Result<()> {
        let workers = children.values().filter_map(|child| {
            Some(RecordedWorker {
                pid: child.pid,
                start_time: procfs::start_time(child.pid)?,
                slot: child.slot.0,
                generation: child.generation.0,
            })
        });
        let record = Record {
            primary_pid: std::process::id(),
            workers: workers.collect(),
            spec: spec.clone(),
        };
        if self.written.as_ref() == Some(&record) {
            return Ok(());
        }
        write_whole(&self.path, &serde_json::to_vec(&record)?)?;
        self.written = Some(record);
        Ok(())
    }

    /// Removes the file: the app ended in order.
    pub(crate) fn remove(&self) {
        // It may never have been written.
        let _ = fs::remove_file(&self.path);
    }
}

/// Replaces a file as a whole or not at all; only its owner may read it (it holds environment
/// values).
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    fs::rename(&beside, path)
}
