//! What a primary writes to disk, so that commands find it when its socket is gone, and its workers
//! when it is dead.

use std::path::PathBuf;

use config::spec::AppSpec;
use serde::{Deserialize, Serialize};

use crate::sys::procfs;

/// The record of one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) primary_pid: u32,
    /// Clock ticks from boot to the start of the primary. `None`: an earlier version wrote this.
    #[serde(default)]
    pub(crate) primary_start_time: Option<u64>,
    /// The folder of the control socket and the lock. `None`: an earlier version wrote this.
    #[serde(default)]
    pub(crate) run: Option<PathBuf>,
    #[serde(default)]
    pub(crate) workers: Vec<RecordedWorker>,
    pub(crate) spec: AppSpec,
}

/// One worker of a [`Record`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedWorker {
    pub(crate) pid: u32,
    /// Clock ticks from boot to the start of the process, field 22 of /proc/PID/stat. It tells the
    /// worker from a later process with the same pid.
    pub(crate) start_time: u64,
    pub(crate) slot: u16,
    pub(crate) generation: u32,
}

impl Record {
    /// A record that does not say where its primary is.
    pub(crate) fn new(primary_pid: u32, workers: Vec<RecordedWorker>, spec: AppSpec) -> Self {
        Self { primary_pid, primary_start_time: None, run: None, workers, spec }
    }

    /// Whether its primary runs. A later process with the same pid does not count.
    pub(crate) fn primary_lives(&self) -> bool {
        let start_time = self.primary_start_time;
        start_time.is_some() && procfs::alive_since(self.primary_pid) == start_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_lives_by_pid_and_start_time() {
        let pid = std::process::id();
        let mut record = Record::new(pid, Vec::new(), AppSpec::new("web", Vec::new(), "/".into()));
        assert!(!record.primary_lives(), "an earlier version did not write the start time");
        record.primary_start_time = procfs::alive_since(pid);
        assert!(record.primary_lives());
        record.primary_start_time = record.primary_start_time.map(|time| time + 1);
        assert!(!record.primary_lives(), "another process had this pid");
    }
}
