//! What /proc shows of the processes of a worker and the stop signal.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::on_stop::OnStop;
use crate::base::time::Time;
use crate::policy::on_stop::{self as policy, Process};
use crate::sys::diag::Connection;
use crate::sys::strays::Stray;
use crate::sys::{procfs, target};

/// Processes of a worker that got no stop signal, since their parents are to stop them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LeftToParents {
    processes: Vec<Stray>,
    /// When they get the signal after all.
    pub(super) until: Time,
}

impl LeftToParents {
    pub(super) fn new(processes: Vec<Stray>, now: Time, kill_timeout: Duration) -> Self {
        Self { processes, until: now + policy::patience(kill_timeout) }
    }

    /// Sends the signal to those that live.
    pub(super) fn signal(self, signal: i32) {
        self.processes.into_iter().for_each(|one| one.signal(signal));
    }
}

/// What the signal means to those of these processes that hold one of the connections.
pub(super) fn of_holders(
    processes: &[u32],
    connections: &[Connection],
    unix: &HashSet<u64>,
    signal: i32,
) -> OnStop {
    let all: HashSet<u64> = connections.iter().map(|connection| connection.inode).collect();
    let holds = |pid: u32| {
        let held = target::sockets_of(&[pid]).unwrap_or_default();
        held.iter().any(|inode| all.contains(inode) || unix.contains(inode))
    };
    policy::least(&look(processes, signal), holds)
}

/// Those of these processes that are left to their parents when the worker `main` is told to stop.
pub(super) fn left_to_parents(processes: &BTreeSet<u32>, main: u32, signal: i32) -> Vec<Stray> {
    if processes.len() < 2 {
        return Vec::new();
    }
    let all = look(processes, signal);
    let left = |one: &&Process| one.pid != main && policy::is_left_to_parent(**one, &all);
    all.iter().filter(left).filter_map(|one| Stray::of(one.pid)).collect()
}

fn look<'p>(processes: impl IntoIterator<Item = &'p u32>, signal: i32) -> Vec<Process> {
    processes.into_iter().map(|pid| one(*pid, signal)).collect()
}

/// A process that cannot be read promises nothing.
fn one(pid: u32, signal: i32) -> Process {
    let judge = |caught| {
        let program = procfs::program_name(pid).unwrap_or_default();
        policy::judge(caught, signal, &program)
    };
    let alone = procfs::caught_signals(pid).map_or(OnStop::Dies, judge);
    Process { pid, parent: procfs::parent(pid).unwrap_or_default(), alone }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_gone_promises_nothing() {
        assert_eq!(one(u32::MAX, libc::SIGTERM).alone, OnStop::Dies);
    }
}
