//! How many CPUs this process may really use, and which limit decided.
//!
//! The affinity mask says on which CPUs it may run; a cgroup's quota says how much of them it may
//! use, at each level from its own cgroup up to the root. Both generations of cgroups are read.
//! A limit that cannot be read does not count.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// The CPUs this process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpus {
    /// How many; at least 1.
    pub count: u16,
    /// Which limit decided that.
    pub limit: CpuLimit,
}

/// The limit that decided how many CPUs there are to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuLimit {
    /// None: every CPU of the machine.
    Machine,
    /// The affinity mask (`taskset`, `CPUAffinity=`, a cpuset) leaves out some of the machine's.
    Affinity {
        /// How many the machine has.
        online: u16,
    },
    /// The quota of a cgroup: CPU time in each period, rounded up to whole CPUs.
    Quota {
        /// Microseconds of CPU time.
        quota: u64,
        /// Microseconds of real time.
        period: u64,
    },
}

impl Cpus {
    /// The CPUs that this process may use now.
    pub fn read() -> Self {
        Self::read_at(Path::new("/"), affinity())
    }

    /// `root` holds `proc` and `sys`; `allowed` is the size of the affinity mask, if known.
    fn read_at(root: &Path, allowed: Option<u16>) -> Self {
        let online = online(root);
        let mut found = match (allowed, online) {
            (Some(allowed), Some(online)) if allowed < online => {
                Self { count: allowed.max(1), limit: CpuLimit::Affinity { online } }
            }
            (Some(count), _) | (None, Some(count)) => {
                Self { count: count.max(1), limit: CpuLimit::Machine }
            }
            (None, None) => Self { count: 1, limit: CpuLimit::Machine },
        };
        if let Some(Quota { quota, period }) = smallest_quota(root) {
            let whole = u16::try_from(quota.div_ceil(period)).unwrap_or(u16::MAX).max(1);
            if whole < found.count {
                found = Self { count: whole, limit: CpuLimit::Quota { quota, period } };
            }
        }
        found
    }
}

impl fmt::Display for Cpus {
    /// `2 CPUs (cgroup quota 1.5)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = if self.count == 1 { "" } else { "s" };
        write!(f, "{} CPU{many}", self.count)?;
        match self.limit {
            CpuLimit::Machine => Ok(()),
            CpuLimit::Affinity { online } => {
                write!(f, " (affinity allows {} of {online})", self.count)
            }
            CpuLimit::Quota { quota, period } => {
                let hundredths = u128::from(quota) * 100 / u128::from(period.max(1));
                let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
                let short = text.trim_end_matches('0').trim_end_matches('.');
                write!(f, " (cgroup quota {short})")
            }
        }
    }
}

/// How many CPUs the affinity mask has. `None`: the kernel's mask does not fit into ours.
fn affinity() -> Option<u16> {
    let set = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let count = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).count();
    u16::try_from(count).ok()
}

/// How many CPUs the machine has running: the length of a list such as `0-3,6`.
fn online(root: &Path) -> Option<u16> {
    let list = fs::read_to_string(root.join("sys/devices/system/cpu/online")).ok()?;
    let mut count: u16 = 0;
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

/// CPU time that a cgroup may use in each period, both in microseconds and neither 0.
#[derive(Debug, Clone, Copy)]
struct Quota {
    quota: u64,
    period: u64,
}

impl Quota {
    fn new(quota: &str, period: &str) -> Option<Self> {
        // "max" and -1 mean no limit, and neither is a number here.
        let (quota, period) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
        (quota > 0 && period > 0).then_some(Self { quota, period })
    }

    fn is_below(&self, other: &Self) -> bool {
        u128::from(self.quota) * u128::from(other.period)
            < u128::from(other.quota) * u128::from(self.period)
    }
}

/// The lowest quota that applies to this process, in any hierarchy and at any level.
fn smallest_quota(root: &Path) -> Option<Quota> {
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mut smallest: Option<Quota> = None;
    for mount in mounts.lines().filter_map(Mount::parse) {
        let Some(group) = mount.group(&groups) else { continue };
        let top = root.join(mount.point.trim_start_matches('/'));
        let own = mount.below(group);
        for level in own.ancestors() {
            let Some(quota) = mount.quota(&top.join(level)) else { continue };
            if smallest.is_none_or(|smallest| quota.is_below(&smallest)) {
                smallest = Some(quota);
            }
        }
    }
    smallest
}

/// A mounted cgroup hierarchy that can limit CPU time.
struct Mount<'a> {
    /// The cgroup that is seen at the mount point.
    root: &'a str,
    point: &'a str,
    second_generation: bool,
}

impl<'a> Mount<'a> {
    /// From a line of mountinfo: `36 25 0:31 ROOT POINT OPTIONS … - TYPE SOURCE SUPEROPTIONS`.
    fn parse(line: &'a str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let second_generation = match kind.next()? {
            "cgroup2" => true,
            "cgroup" if kind.nth(1)?.split(',').any(|option| option == "cpu") => false,
            _ => return None,
        };
        Some(Self { root, point, second_generation })
    }

    /// This process's cgroup in this hierarchy, from `0::PATH` or `N:cpu,cpuacct:PATH`.
    fn group<'g>(&self, groups: &'g str) -> Option<&'g str> {
        groups.lines().find_map(|line| {
            let (number, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let this = if self.second_generation {
                number == "0" && controllers.is_empty()
            } else {
                controllers.split(',').any(|controller| controller == "cpu")
            };
            this.then_some(path)
        })
    }

    /// `group` as a path below the mount point; the mount point itself if it is not below it, as
    /// in a container that sees only its own cgroup but is told the host's path.
    fn below(&self, group: &str) -> PathBuf {
        let root = Path::new(self.root);
        let path = Path::new(group).strip_prefix(root).unwrap_or_else(|_| Path::new(""));
        if path.components().any(|part| part.as_os_str() == "..") {
            return PathBuf::new();
        }
        path.to_owned()
    }

    fn quota(&self, folder: &Path) -> Option<Quota> {
        if self.second_generation {
            let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            return Quota::new(quota, period);
        }
        let quota = fs::read_to_string(folder.join("cpu.cfs_quota_us")).ok()?;
        let period = fs::read_to_string(folder.join("cpu.cfs_period_us")).ok()?;
        Quota::new(&quota, &period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = "25 1 0:23 / /proc rw - proc proc rw\n\
                      30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      32 24 0:28 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro master:9 - cgroup cgroup rw,cpu,cpuacct\n";

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn read(allowed: Option<u16>, files: &[(&str, &str)]) -> String {
        Cpus::read_at(machine(files).path(), allowed).to_string()
    }

    const ONLINE: (&str, &str) = ("sys/devices/system/cpu/online", "0-3,6-9\n");

    #[test]
    fn affinity_and_machine() {
        assert_eq!(read(Some(8), &[ONLINE]), "8 CPUs");
        assert_eq!(read(Some(2), &[ONLINE]), "2 CPUs (affinity allows 2 of 8)");
        assert_eq!(read(None, &[ONLINE]), "8 CPUs");
        assert_eq!(read(Some(3), &[]), "3 CPUs");
        assert_eq!(read(None, &[]), "1 CPU");
        assert_eq!(read(Some(5), &[("sys/devices/system/cpu/online", "zebra")]), "5 CPUs");
    }

    #[test]
    fn the_tightest_level_of_the_second_generation_counts() {
        let files = [
            ONLINE,
            ("proc/self/mountinfo", V2),
            ("proc/self/cgroup", "0::/a.slice/b.scope\n"),
            ("sys/fs/cgroup/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/a.slice/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/a.slice/b.scope/cpu.max", "400000 100000\n"),
        ];
        assert_eq!(read(Some(8), &files), "2 CPUs (cgroup quota 1.5)");
        assert_eq!(read(Some(2), &files), "2 CPUs (affinity allows 2 of 8)");
        assert_eq!(read(Some(1), &files), "1 CPU (affinity allows 1 of 8)");
    }

    #[test]
    fn a_quota_below_one_cpu_is_one() {
        let files = [
            ONLINE,
            ("proc/self/mountinfo", V2),
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/cpu.max", "25000 100000\n"),
        ];
        assert_eq!(read(Some(8), &files), "1 CPU (cgroup quota 0.25)");
    }

    #[test]
    fn the_first_generation_in_a_container() {
        let files = |quota| {
            [
                ONLINE,
                ("proc/self/mountinfo", V1),
                ("proc/self/cgroup", "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n"),
                ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", quota),
                ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ]
        };
        assert_eq!(read(Some(8), &files("300000\n")), "3 CPUs (cgroup quota 3)");
        assert_eq!(read(Some(8), &files("-1\n")), "8 CPUs");
        assert_eq!(read(Some(8), &files("0\n")), "8 CPUs");
    }

    #[test]
    fn a_path_outside_of_the_namespace_means_the_mount_point() {
        let files = [
            ONLINE,
            ("proc/self/mountinfo", V2),
            ("proc/self/cgroup", "0::/../../elsewhere\n"),
            ("sys/fs/cgroup/cpu.max", "200000 100000\n"),
        ];
        assert_eq!(read(Some(8), &files), "2 CPUs (cgroup quota 2)");
    }

    #[test]
    fn this_machine_can_be_read() {
        assert!(Cpus::read().count >= 1);
    }
}
