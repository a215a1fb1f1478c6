//! What the stop signal means to the processes of a worker, and which of them get it.
//!
//! A handler says that a program stops in a way of its own. Some runtimes install one in every
//! program, also in those that know nothing of it: of these a handler says nothing.
//!
//! A process without a handler dies of the signal at once, with its requests. Where its parent has
//! a handler, the parent stops it in its own way, as Hypercorn does; such a process is left to its
//! parent.

use std::time::Duration;

use crate::base::on_stop::OnStop;

/// Runtimes that handle SIGTERM in every program, by the name of their executable; and shells,
/// whose traps run only once the child in the foreground has ended.
const RUNTIMES: [&str; 15] = [
    "node", "nodejs", "bun", "deno", "java", "ruby", "dotnet", "sh", "bash", "dash", "ash",
    "busybox", "zsh", "ksh", "mksh",
];
/// No program handles so many signals by itself; the runtime of Go does.
const MOST: u32 = 32;

/// One process of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    /// What the signal means to it alone.
    pub(crate) alone: OnStop,
}

/// `caught`: a bit for each signal that it handles, that of signal 1 the lowest. `program`: the
/// name of its executable.
pub(crate) fn judge(caught: u64, signal: i32, program: &str) -> OnStop {
    let bit = u32::try_from(signal - 1).ok().and_then(|bit| 1_u64.checked_shl(bit));
    if bit.is_none_or(|bit| caught & bit == 0) {
        OnStop::Dies
    } else if caught.count_ones() >= MOST || RUNTIMES.contains(&program) {
        OnStop::RuntimeHandles
    } else {
        OnStop::Handles
    }
}

/// Whether this process is left to its parent, which is one of `all`.
pub(crate) fn is_left_to_parent(process: Process, all: &[Process]) -> bool {
    let handles = |other: &Process| {
        other.pid == process.parent && other.pid != process.pid && other.alone == OnStop::Handles
    };
    process.alone == OnStop::Dies && all.iter().any(handles)
}

/// How long such processes may go on without the signal: half of the time after which the worker is
/// killed. A parent with a handler may not know of its children, so those that still live get it.
pub(crate) fn patience(kill_timeout: Duration) -> Duration {
    kill_timeout / 2
}

/// What it means to those of these processes that are `holders`: that of the one that promises
/// least.
pub(crate) fn least(all: &[Process], holders: impl Fn(u32) -> bool) -> OnStop {
    let of = |process: Process| match is_left_to_parent(process, all) {
        true => OnStop::Handles,
        false => process.alone,
    };
    let means: Vec<OnStop> =
        all.iter().filter(|one| holders(one.pid)).map(|one| of(*one)).collect();
    [OnStop::Dies, OnStop::RuntimeHandles, OnStop::Handles]
        .into_iter()
        .find(|least| means.contains(least))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: i32 = 15;

    fn process(pid: u32, parent: u32, alone: OnStop) -> Process {
        Process { pid, parent, alone }
    }

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
    fn a_child_without_a_handler_is_left_to_a_parent_that_has_one() {
        use OnStop::{Dies, Handles, RuntimeHandles};
        let left = |all: &[Process]| {
            let left = all.iter().filter(|one| is_left_to_parent(**one, all));
            left.map(|one| one.pid).collect::<Vec<_>>()
        };
        // Hypercorn: the parent tells its child in another way.
        let hypercorn = [process(10, 1, Handles), process(11, 10, Dies)];
        assert_eq!(left(&hypercorn), [11]);
        assert_eq!(least(&hypercorn, |pid| pid == 11), Handles);
        // A shell does not pass signals on; npm is Node, and every Node program has a handler.
        assert_eq!(left(&[process(10, 1, Dies), process(11, 10, Dies)]), [0; 0]);
        let npm = [process(10, 1, RuntimeHandles), process(11, 10, Dies), process(12, 11, Dies)];
        assert_eq!(left(&npm), [0; 0]);
        assert_eq!(least(&npm, |pid| pid == 12), Dies);
        // A shell with a trap.
        assert_eq!(judge(0x1_4002, TERM, "dash"), RuntimeHandles);
        // gunicorn: everybody has a handler.
        assert_eq!(left(&[process(10, 1, Handles), process(11, 10, Handles)]), [0; 0]);
        // A grandchild whose parent dies of the signal gets it itself.
        let deep = [process(10, 1, Handles), process(11, 10, Dies), process(12, 11, Dies)];
        assert_eq!(left(&deep), [11]);
        assert_eq!(least(&deep, |pid| pid >= 11), Dies);
    }

    #[test]
    fn nothing_known_promises_nothing() {
        assert_eq!(least(&[], |_| true), OnStop::Dies);
        let own_parent = [process(10, 10, OnStop::Dies)];
        assert!(!is_left_to_parent(own_parent[0], &own_parent));
    }
}
