//! Memory and descriptors of an app, before and after.

use ipc::control::AppStatus;
use serde::Serialize;

use crate::sys::procfs;

/// What the processes of an app hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Footprint {
    /// Of the keeper and the primary.
    pub(super) supervisor: Held,
    /// Of the main processes of all workers.
    pub(super) workers: Held,
}

/// What processes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Held {
    pub(super) rss_bytes: u64,
    /// Open descriptors; `None`: this user may not know.
    pub(super) descriptors: Option<usize>,
}

impl Footprint {
    /// Of this app, now.
    pub(super) fn of(status: &AppStatus) -> Self {
        let ours: Vec<u32> = status.keeper_pid.into_iter().chain([status.primary_pid]).collect();
        let workers: Vec<u32> = status.workers.iter().filter_map(|worker| worker.pid).collect();
        Self { supervisor: Held::by(&ours), workers: Held::by(&workers) }
    }
}

impl Held {
    fn by(pids: &[u32]) -> Self {
        let count = |pid: &u32| Some(std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count());
        let descriptors = pids.iter().map(count).sum();
        Self { rss_bytes: procfs::resident(pids), descriptors }
    }
}
