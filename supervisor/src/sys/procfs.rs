//! Facts from /proc about processes (group, start time, memory, CPU, whether they stand still) and
//! about unix sockets.
//!
//! Only for pids that the caller has a reason to know, and for bounded scans. A process that ends
//! during a query is not in the answer.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::time::Duration;

use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

/// A process's use of memory and CPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Usage {
    pub(crate) rss_bytes: u64,
    /// CPU use in percent of one CPU since the previous query; 0 at the first.
    pub(crate) cpu_percent: f32,
    /// CPU time over its whole life.
    pub(crate) cpu_time: Duration,
}

/// Queries the same processes repeatedly, and remembers the previous query to compute the CPU
/// share.
#[derive(Debug)]
pub(crate) struct Sampler {
    system: System,
}

impl Sampler {
    pub(crate) fn new() -> io::Result<Self> {
        let system = System::new().map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { system })
    }

    /// What these processes use; those that are gone are missing.
    pub(crate) fn usage(&mut self, pids: &[u32]) -> HashMap<u32, Usage> {
        let wanted: Vec<_> = pids.iter().map(|pid| sysinfo::Pid::from_u32(*pid)).collect();
        let what = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
        // Includes those of earlier queries: the sampler forgets dead processes only if it queries
        // them.
        let mut asked = wanted.clone();
        asked.extend(self.system.processes().keys().filter(|known| !wanted.contains(*known)));
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&asked), true, what);
        let look = |pid: &sysinfo::Pid| {
            let process = self.system.process(*pid)?;
            let usage = Usage {
                rss_bytes: process.memory(),
                cpu_percent: process.cpu_usage(),
                cpu_time: Duration::from_millis(process.accumulated_cpu_time()),
            };
            Some((pid.as_u32(), usage))
        };
        wanted.iter().filter_map(look).collect()
    }
}

/// The resident memory of these processes together, in bytes. Those that are gone have none.
pub(crate) fn resident(pids: &[u32]) -> u64 {
    let kib = pids.iter().filter_map(|pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let size = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        size.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    kib.sum::<u64>() * 1024
}

/// The name of this machine, or of the container that this process is in.
#[cfg(feature = "otlp")]
pub(crate) fn host_name() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned())
}

/// When the process started, in clock ticks since boot. Pid and start time together name a process
/// for ever.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    Stat::of(pid).map(|stat| stat.start_time)
}

/// The signals that this process has a handler for: a bit for each, that of signal 1 the lowest.
pub(crate) fn caught_signals(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

/// The parent of this process.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    Stat::of(pid).map(|stat| stat.parent)
}

/// The first port that every user may open (ip(7), ip_unprivileged_port_start).
pub(crate) fn unprivileged_port_start() -> u16 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024)
}

/// The name of the file that this process executes.
pub(crate) fn program_name(pid: u32) -> Option<String> {
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(program.file_name()?.to_string_lossy().into_owned())
}

/// Whether this descriptor of a process holds the exclusive lock (flock(2)) on the file with this
/// inode. What may not be seen counts as no.
pub(crate) fn has_locked(pid: u32, fd: i32, inode: u64) -> bool {
    let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}"));
    info.is_ok_and(|info| info.lines().any(|line| is_lock_on(line, inode)))
}

/// `lock: 1: FLOCK  ADVISORY  WRITE 4711 00:01:1049 0 EOF`
fn is_lock_on(line: &str, inode: u64) -> bool {
    let Some(lock) = line.strip_prefix("lock:") else { return false };
    let fields: Vec<&str> = lock.split_ascii_whitespace().collect();
    let [_, "FLOCK", _, "WRITE", _, file, ..] = fields[..] else { return false };
    file.rsplit_once(':').is_some_and(|(_, of)| of.parse() == Ok(inode))
}

/// The processes of this group that still run (zombies do not).
pub(crate) fn group_members(group: u32) -> Vec<u32> {
    all(|stat| stat.group == group && !stat.zombie)
}

/// The processes whose parent is this one.
pub(super) fn children(pid: u32) -> Vec<u32> {
    all(|stat| stat.parent == pid && !stat.zombie)
}

/// Whether a signal has stopped this process.
pub(crate) fn is_stopped(pid: u32) -> bool {
    Stat::of(pid).is_some_and(|stat| stat.stopped)
}

/// Whether those of these processes that are in this group stand still: SIGSTOP has reached every
/// thread of them.
pub(crate) fn is_still(pids: &[u32], group: u32) -> bool {
    pids.iter().all(|pid| match Stat::of(*pid) {
        None => true,
        Some(stat) if stat.group != group => true,
        // The first thread may have ended before the others.
        Some(stat) => (stat.stopped || stat.zombie) && threads_are_still(*pid),
    })
}

fn threads_are_still(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let stat = std::fs::read(thread.path().join("stat"));
        let stat = stat.ok().and_then(|stat| Stat::parse(&stat));
        stat.is_none_or(|stat| stat.stopped || stat.zombie)
    })
}

/// The inodes of the accepted connections of the unix sockets at these paths.
///
/// The kernel gives the table page by page, and continues by counting the sockets of a hash bucket
/// (`unix_seq_next`). If a socket is closed in between, it leaves out the next one. So this
/// function reads the table twice; a socket could be missing only if both reads happened to leave
/// it out.
pub(crate) fn unix_connections(paths: &[&Path]) -> io::Result<HashSet<u64>> {
    if paths.is_empty() {
        return Ok(HashSet::new());
    }
    let mut found = listed_unix_connections(paths)?;
    found.extend(listed_unix_connections(paths)?);
    Ok(found)
}

fn listed_unix_connections(paths: &[&Path]) -> io::Result<HashSet<u64>> {
    let table = std::fs::read("/proc/self/net/unix")?;
    let connected = |line: &[u8]| {
        // `address: references protocol flags type state inode path`
        let text = String::from_utf8_lossy(line);
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let (state, inode) = (*fields.get(5)?, fields.get(6)?.parse().ok()?);
        let ours = |path: &&Path| {
            let path = path.as_os_str().as_encoded_bytes();
            line.strip_suffix(path).is_some_and(|rest| rest.ends_with(b" "))
        };
        (state == "03" && inode != 0 && paths.iter().any(ours)).then_some(inode)
    };
    Ok(table.split(|byte| *byte == b'\n').filter_map(connected).collect())
}

/// All pids.
pub(super) fn pids() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn all(wanted: impl Fn(&Stat) -> bool) -> Vec<u32> {
    pids().into_iter().filter(|pid| Stat::of(*pid).is_some_and(|stat| wanted(&stat))).collect()
}

/// When it was started, as `start_time`; `None`: there is no such process, or it is a zombie.
pub(crate) fn alive_since(pid: u32) -> Option<u64> {
    Stat::of(pid).filter(|stat| !stat.zombie).map(|stat| stat.start_time)
}

/// As `alive_since`, of a process that is not in this group.
pub(super) fn alive_outside(pid: u32, group: u32) -> Option<u64> {
    let stat = Stat::of(pid).filter(|stat| !stat.zombie && stat.group != group)?;
    Some(stat.start_time)
}

/// The process group of this process.
#[cfg(test)]
pub(super) fn group_of(pid: u32) -> Option<u32> {
    Stat::of(pid).map(|stat| stat.group)
}

struct Stat {
    zombie: bool,
    stopped: bool,
    parent: u32,
    group: u32,
    start_time: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        // Bytes, not text: a process can choose any name.
        Self::parse(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// `pid (name) state parent group ...`; the name may contain spaces and brackets.
    fn parse(stat: &[u8]) -> Option<Self> {
        let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
        let rest = std::str::from_utf8(&stat[after_name..]).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            zombie: matches!(*fields.first()?, "Z" | "X"),
            stopped: matches!(*fields.first()?, "T" | "t"),
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            start_time: fields.get(19)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_frozen_process_stands_still() {
        use std::os::unix::process::CommandExt;
        let mut child = std::process::Command::new("sleep").arg("1000").process_group(0).spawn();
        let child = child.as_mut().unwrap();
        let pid = child.id();
        assert!(!is_still(&[pid], pid));
        let leader = crate::sys::pidfd::Pid(pid);
        crate::sys::pidfd::signal_group(leader, libc::SIGSTOP).unwrap();
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while !is_still(&[pid], pid) {
            assert!(std::time::Instant::now() < end, "it did not stop");
            std::thread::yield_now();
        }
        assert!(is_still(&[std::process::id()], pid), "we are of another group");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_unix_connection_is_seen_once_it_is_accepted() {
        use std::os::fd::AsFd;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a b.sock");
        let other = folder.path().join("b.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        let seen = || unix_connections(&[&path]).unwrap();
        assert_eq!(seen(), HashSet::new());
        let (server, _) = listener.accept().unwrap();
        assert_eq!(seen(), HashSet::from([crate::sys::socket::inode(server.as_fd()).unwrap()]));
        assert_eq!(unix_connections(&[&other]).unwrap(), HashSet::new());
        drop(server);
        crate::sys::tests::eventually(|| seen().is_empty());
    }

    #[test]
    fn a_name_full_of_brackets_is_no_trap() {
        let line = b"42 (a) Z 1 (\xff) S 7 9 9 0 -1 4 1 0 0 0 0 0 0 0 20 0 1 0 5555 1 2 3";
        let stat = Stat::parse(line).unwrap();
        assert!(!stat.zombie);
        assert_eq!((stat.parent, stat.group, stat.start_time), (7, 9, 5555));
        assert!(Stat::parse(b"42 (short) S 1").is_none());
    }

    #[test]
    fn only_an_exclusive_flock_on_the_very_file_counts() {
        let line = |kind: &str| format!("lock:\t1: {kind} 4711 00:01:1049 0 EOF");
        assert!(is_lock_on(&line("FLOCK  ADVISORY  WRITE"), 1049));
        assert!(!is_lock_on(&line("FLOCK  ADVISORY  WRITE"), 49));
        assert!(!is_lock_on(&line("FLOCK  ADVISORY  READ"), 1049));
        assert!(!is_lock_on(&line("POSIX  ADVISORY  WRITE"), 1049));
        assert!(!is_lock_on("ino:\t1049", 1049));
    }

    #[test]
    fn we_see_ourselves() {
        let me = std::process::id();
        assert!(start_time(me).is_some());
        assert!(start_time(u32::MAX).is_none());
        let group = nix::unistd::getpgrp().as_raw();
        assert!(group_members(u32::try_from(group).unwrap()).contains(&me));
        let mut sampler = Sampler::new().unwrap();
        let usage = sampler.usage(&[me, u32::MAX - 1]);
        assert_eq!(usage.len(), 1);
        assert!(usage[&me].rss_bytes > 100_000);
    }

    #[test]
    fn the_dead_are_forgotten() {
        let mut sampler = Sampler::new().unwrap();
        for _ in 0..3 {
            let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
            assert_eq!(sampler.usage(&[child.id()]).len(), 1);
            child.kill().unwrap();
            child.wait().unwrap();
        }
        sampler.usage(&[std::process::id()]);
        assert_eq!(sampler.system.processes().len(), 1);
    }
}
