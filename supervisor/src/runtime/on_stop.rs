//! What /proc shows of the processes of a worker and the stop signal.

use std::collections::HashSet;

use crate::base::on_stop::OnStop;
use crate::policy::on_stop::{self as policy, Process};
use crate::sys::diag::Connection;
use crate::sys::strays::Stray;
use crate::sys::{procfs, target};

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
pub(super) fn left_to_parents(processes: &[u32], main: u32, signal: i32) -> Vec<Stray> {
    if processes.len() < 2 {
        return Vec::new();
    }
    let all = look(processes, signal);
    let left = |one: &&Process| one.pid != main && policy::is_left_to_parent(**one, &all);
    all.iter().filter(left).filter_map(|one| Stray::of(one.pid)).collect()
}

fn look(processes: &[u32], signal: i32) -> Vec<Process> {
    let one = |pid: &u32| {
        let (pid, caught) = (*pid, procfs::caught_signals(*pid)?);
        let program = procfs::program_name(pid).unwrap_or_default();
        let alone = policy::judge(caught, signal, &program);
        Some(Process { pid, parent: procfs::parent(pid)?, alone })
    };
    processes.iter().filter_map(one).collect()
}
