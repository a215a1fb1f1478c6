//! Processes that left the process group of the worker from which they come, and what shows that:
//! their parents, their environment, the sockets that they have open.
//!
//! A process may change all of these but its ancestors, so this is no protection against a hostile
//! program.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use serde::{Deserialize, Serialize};

use super::pidfd::{self, Pid};
use super::{procfs, target};

/// The variable that names a worker in the environment of its processes.
pub(crate) const WORKER_VARIABLE: &str = "SUPERVISOR_WORKER";
/// The variable that names its app.
pub(crate) const APP_VARIABLE: &str = "SUPERVISOR_APP";
/// What stands there for the processes of the supervisor itself. One that is started from inside a
/// worker is not that worker's.
pub(crate) const PRIMARY: &str = "primary";
/// The most bytes of an environment that are read.
const ENVIRONMENT: u64 = 1 << 20;
/// The most processes that are found for one worker.
const MOST: usize = 4096;

/// A process; with its start time, so that its number cannot come to mean another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stray {
    pub(crate) pid: u32,
    since: u64,
}

/// The worker that an environment names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) app: String,
    /// Its id, or [`PRIMARY`].
    pub(crate) worker: String,
}

impl Mark {
    /// That of a process; `None`: it names no worker, or cannot be read.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let mut bytes = Vec::new();
        let file = File::open(format!("/proc/{pid}/environ")).ok()?;
        file.take(ENVIRONMENT).read_to_end(&mut bytes).ok()?;
        Self::parse(&bytes)
    }

    fn parse(environment: &[u8]) -> Option<Self> {
        let value = |name: &str| {
            let all = environment.split(|byte| *byte == 0);
            let of = |variable: &[u8]| {
                let value = variable.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
                String::from_utf8(value.to_vec()).ok()
            };
            all.into_iter().find_map(of)
        };
        Some(Self { app: value(APP_VARIABLE)?, worker: value(WORKER_VARIABLE)? })
    }
}

/// A child of the keeper that is neither a worker nor the primary: its parent has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Orphan {
    pub(crate) pid: u32,
    pub(crate) mark: Option<Mark>,
    /// The inodes of the sockets that it has open; only where it has no mark.
    pub(crate) sockets: HashSet<u64>,
}

/// The orphans among the children of this keeper. `known`: its workers and the primary.
pub(crate) fn orphans(keeper: u32, known: &HashSet<u32>) -> Vec<Orphan> {
    let of = |pid: u32| {
        let mark = Mark::of(pid);
        let sockets = match mark {
            Some(_) => HashSet::new(),
            None => target::sockets_of(&[pid]).unwrap_or_default(),
        };
        Orphan { pid, mark, sockets }
    };
    let children = target::children_of(keeper);
    children.into_iter().filter(|pid| !known.contains(pid)).take(MOST).map(of).collect()
}

/// This process and all that it started, but what is another worker's: a worker may run a
/// supervisor of its own.
pub(crate) fn family(root: u32, mark: &Mark) -> Vec<u32> {
    let mut found = vec![root];
    let mut seen = HashSet::from([root]);
    let mut next = 0;
    while next < found.len() && found.len() < MOST {
        for child in target::children_of(found[next]) {
            let foreign = || Mark::of(child).is_some_and(|other| other != *mark);
            if seen.insert(child) && !foreign() {
                found.push(child);
            }
        }
        next += 1;
    }
    found
}

impl Stray {
    /// This process, if it runs outside of this group.
    pub(crate) fn outside(pid: u32, group: u32) -> Option<Self> {
        let since = procfs::alive_outside(pid, group)?;
        Some(Self { pid, since })
    }

    /// This process, if it runs.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, since: procfs::alive_since(pid)? })
    }

    /// Sends it a signal. A process that has ended is no error.
    pub(crate) fn signal(self, number: i32) {
        let Ok(pidfd) = pidfd::open(Pid(self.pid)) else { return };
        // From here on the number is known to be that of the process behind the descriptor.
        if procfs::alive_since(self.pid) == Some(self.since) {
            // It may have ended, or become another user's.
            let _ = pidfd::signal(pidfd.as_fd(), number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_mark_needs_both_variables() {
        let mark = Mark { app: "web".to_owned(), worker: "7".to_owned() };
        let text = b"A=1\0SUPERVISOR_APP=web\0SUPERVISOR_WORKER=7\0";
        assert_eq!(Mark::parse(text), Some(mark));
        for other in ["", "SUPERVISOR_APP=web\0", "SUPERVISOR_WORKER=7\0"] {
            assert_eq!(Mark::parse(other.as_bytes()), None, "{other:?}");
        }
    }

    #[test]
    fn a_family_ends_where_another_worker_begins() {
        let script = "sleep 1000 & SUPERVISOR_WORKER=8 sleep 1000 & wait";
        let mut shell = Command::new("/bin/sh")
            .args(["-c", script])
            .env(APP_VARIABLE, "web")
            .env(WORKER_VARIABLE, "7")
            .spawn()
            .unwrap();
        let mark = Mark { app: "web".to_owned(), worker: "7".to_owned() };
        let foreign = Mark { worker: "8".to_owned(), ..mark.clone() };
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let marks = |pids: &[u32]| pids.iter().filter_map(|pid| Mark::of(*pid)).collect::<Vec<_>>();
        let all = loop {
            let all = target::descendants(shell.id());
            if all.len() == 3 && marks(&all).contains(&foreign) {
                break all;
            }
            assert!(std::time::Instant::now() < end, "{all:?}");
            std::thread::yield_now();
        };
        let own = family(shell.id(), &mark);
        for pid in &all {
            let group = procfs::group_of(*pid).unwrap();
            assert_eq!(Stray::outside(*pid, group), None);
            Stray::outside(*pid, group + 1).unwrap().signal(libc::SIGKILL);
        }
        shell.wait().unwrap();
        assert_eq!(own.len(), 2, "{own:?} of {all:?}");
    }
}
