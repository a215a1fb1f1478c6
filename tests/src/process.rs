//! Other processes, as /proc shows them. A process that ends during a look counts as gone.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::wait::let_pass;

/// One process.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its parent.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// `R`, `S`, `Z`…
    pub state: char,
    /// User and system time, in clock ticks (1/100 s).
    pub ticks: u64,
    /// Its short name.
    pub name: String,
}

/// The process with this id. `None` if it is gone; a zombie is not gone.
pub fn get(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    Some(Process {
        pid,
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        ticks: fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?,
        name: name.to_owned(),
    })
}

/// Every process.
pub fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(get)
        .collect()
}

/// A child of this process, if it has one.
pub fn child_of(parent: u32) -> Option<u32> {
    all().into_iter().find(|one| one.parent == parent).map(|one| one.pid)
}

/// Whether it runs. A zombie does not.
pub fn is_alive(pid: u32) -> bool {
    get(pid).is_some_and(|p| p.state != 'Z')
}

/// Every live process that was started in this home: the home is in its environment or is its
/// working directory, or it is a descendant of such a process or in its process group.
pub fn of_home(home: &Path) -> Vec<Process> {
    let mut rest: Vec<Process> =
        all().into_iter().filter(|p| p.state != 'Z' && p.pid != std::process::id()).collect();
    let mut found: Vec<Process> = rest.extract_if(.., |p| is_marked(p.pid, home)).collect();
    let own_group = get(std::process::id()).map_or(0, |p| p.group);
    loop {
        let pids: HashSet<u32> = found.iter().map(|p| p.pid).collect();
        let groups: HashSet<u32> =
            found.iter().map(|p| p.group).filter(|g| *g != own_group).collect();
        let before = found.len();
        found
            .extend(rest.extract_if(.., |p| pids.contains(&p.parent) || groups.contains(&p.group)));
        if found.len() == before {
            return found;
        }
    }
}

fn is_marked(pid: u32, home: &Path) -> bool {
    if fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(home)) {
        return true;
    }
    let Ok(environ) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    let home = home.as_os_str().as_encoded_bytes();
    environ.split(|b| *b == 0).any(|entry| {
        [b"SUPERVISOR_HOME=".as_slice(), b"SUPERVISOR_TEST_HOME="]
            .iter()
            .any(|key| entry.strip_prefix(*key) == Some(home))
    })
}

/// Sends a signal. Does nothing if the process is gone already.
pub fn kill(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).expect("a pid fits");
    assert!(pid > 1, "will not signal pid {pid}");
    match signal::kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
        Err(e) => panic!("send {signal} to {pid}: {e}"),
    }
}

/// User and system time, in clock ticks.
pub fn ticks(pid: u32) -> u64 {
    get(pid).unwrap_or_else(|| panic!("process {pid} is gone")).ticks
}

/// Resident memory in KiB.
pub fn rss_kib(pid: u32) -> u64 {
    memory(pid, "status", "VmRSS:")
}

/// Resident memory in KiB without the pages of files: code counts as memory when it first runs.
pub fn anonymous_kib(pid: u32) -> u64 {
    memory(pid, "status", "RssAnon:")
}

/// Its share of memory in KiB: what several processes hold is divided among them.
pub fn pss_kib(pid: u32) -> u64 {
    memory(pid, "smaps_rollup", "Pss:")
}

fn memory(pid: u32, file: &str, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/{file}"))
        .unwrap_or_else(|e| panic!("read the memory of {pid}: {e}"));
    let value =
        |line: &str| line.strip_prefix(name)?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok();
    status.lines().find_map(value).unwrap_or_else(|| panic!("no {name} of {pid}"))
}

/// Its file descriptors: the number of each, and what it points to.
pub fn fds(pid: u32) -> Vec<(u32, String)> {
    let folder = format!("/proc/{pid}/fd");
    let mut fds: Vec<(u32, String)> = fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("read {folder}: {e}"))
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let target = fs::read_link(entry.path()).ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, target.display().to_string()))
        })
        .collect();
    fds.sort();
    fds
}

/// How many file descriptors it has: the fewest of 20 looks within 200 ms, since it may not have
/// closed a control connection of the test yet.
pub fn fd_count(pid: u32) -> usize {
    let looks = (0..20).map(|_| {
        let_pass(Duration::from_millis(10));
        fds(pid).len()
    });
    looks.min().expect("20 looks")
}
