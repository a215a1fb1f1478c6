//! What the stop signal means to a worker: whether the processes that hold its connections handle
//! it, as /proc shows.
//!
//! A handler says that a program stops in a way of its own. Some runtimes install one in every
//! program, also in those that know nothing of it: of these a handler says nothing.

use std::collections::HashSet;

use crate::primary::event::OnStop;
use crate::sys::diag::Connection;
use crate::sys::{procfs, target};

/// Runtimes that handle SIGTERM in every program, by the name of their executable.
const RUNTIMES: [&str; 7] = ["node", "nodejs", "bun", "deno", "java", "ruby", "dotnet"];
/// No program handles so many signals by itself; the runtime of Go does.
const MOST: u32 = 32;

/// Of all these processes that hold one of the connections: the one that promises least.
pub(super) fn of(
    processes: &[u32],
    connections: &[Connection],
    unix: &HashSet<u64>,
    signal: i32,
) -> OnStop {
    let all: HashSet<u64> = connections.iter().map(|connection| connection.inode).collect();
    let holds = |pid: &&u32| {
        let held = target::sockets_of(&[**pid]).unwrap_or_default();
        held.iter().any(|inode| all.contains(inode) || unix.contains(inode))
    };
    let means: Vec<OnStop> = processes.iter().filter(holds).map(|pid| one(*pid, signal)).collect();
    [OnStop::Dies, OnStop::RuntimeHandles, OnStop::Handles]
        .into_iter()
        .find(|least| means.contains(least))
        .unwrap_or_default()
}

fn one(pid: u32, signal: i32) -> OnStop {
    let Some(caught) = procfs::caught_signals(pid) else { return OnStop::Dies };
    let program = procfs::program_name(pid).unwrap_or_default();
    judge(caught, signal, &program)
}

/// `caught`: a bit for each signal, that of signal 1 the lowest.
fn judge(caught: u64, signal: i32, program: &str) -> OnStop {
    let bit = u32::try_from(signal - 1).ok().and_then(|bit| 1_u64.checked_shl(bit));
    if bit.is_none_or(|bit| caught & bit == 0) {
        OnStop::Dies
    } else if caught.count_ones() >= MOST || RUNTIMES.contains(&program) {
        OnStop::RuntimeHandles
    } else {
        OnStop::Handles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: i32 = 15;

    #[test]
    fn masks_as_they_were_seen() {
        // python3 with signal.signal(SIGTERM, ...), and without.
        assert_eq!(judge(0x4002, TERM, "python3.11"), OnStop::Handles);
        assert_eq!(judge(0x0002, TERM, "python3.11"), OnStop::Dies);
        assert_eq!(judge(0x1_0000_4602, TERM, "node"), OnStop::RuntimeHandles);
        assert_eq!(judge(0xffff_fffd_7fc1_feff, TERM, "server"), OnStop::RuntimeHandles);
        assert_eq!(judge(0x4002, 0, "python3.11"), OnStop::Dies);
        assert_eq!(judge(u64::MAX, 65, "python3.11"), OnStop::Dies);
    }

    #[test]
    fn a_process_that_is_gone_promises_nothing() {
        assert_eq!(one(u32::MAX, TERM), OnStop::Dies);
    }
}
