//! A worker's privileges and limits: looked up before the fork, set between fork and exec.
//!
//! Groups, limits and priorities come before the change of user, which takes away the right to
//! raise them. The promise of no new privileges comes last. Fails for names that do not exist.

use std::io;

use config::spec::{Limit, Privileges as Wanted, Resource};
use nix::errno::Errno;
use nix::sys::resource::{Resource as Kernel, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, getgroups};

use super::spawn::report::Stage;
use super::{accounts, daemon};

/// [`Wanted`], with the names resolved.
#[derive(Debug, Default)]
pub(crate) struct Privileges {
    wanted: Wanted,
    groups: Vec<Gid>,
}

type Step = Result<(), (Stage, io::Error)>;

impl Privileges {
    pub(crate) fn of(wanted: &Wanted) -> Result<Self, String> {
        let groups = wanted.groups.iter().map(|name| accounts::group(name).map(Gid::from_raw));
        Ok(Self { wanted: wanted.clone(), groups: groups.collect::<Result<_, _>>()? })
    }

    /// All supplementary groups of a worker whose user has the groups `own`. `None`: the groups of
    /// this process.
    pub(super) fn groups(&self, own: Option<Vec<Gid>>) -> io::Result<Option<Vec<Gid>>> {
        if self.groups.is_empty() {
            return Ok(own);
        }
        let mut all = own.map_or_else(getgroups, Ok)?;
        for group in &self.groups {
            if !all.contains(group) {
                all.push(*group);
            }
        }
        Ok(Some(all))
    }

    /// Runs in the child while it still has this process's rights.
    pub(super) fn before_user(&self) -> Step {
        let wanted = &self.wanted;
        // Otherwise the value that this process had before `go_last`.
        let adjustment = wanted.oom_score_adj.map(i32::from).or_else(daemon::original_oom);
        if let Some(adjustment) = adjustment {
            std::fs::write("/proc/self/oom_score_adj", adjustment.to_string())
                .map_err(|error| (Stage::OomScore, error))?;
        }
        if let Some(nice) = wanted.nice {
            rustix::process::setpriority_process(None, nice.into())
                .map_err(|error| (Stage::Nice, error.into()))?;
        }
        for (resource, limit) in &wanted.limits {
            set_limit(*resource, *limit).map_err(|errno| (Stage::Resources, errno.into()))?;
        }
        if let Some(mask) = wanted.umask {
            umask(Mode::from_bits_truncate(mask.into()));
        }
        Ok(())
    }

    /// Runs in the child after it has become the worker's user.
    pub(super) fn after_user(&self) -> Step {
        if self.wanted.no_new_privs {
            nix::sys::prctl::set_no_new_privs()
                .map_err(|error| (Stage::NoNewPrivileges, error.into()))?;
        }
        Ok(())
    }
}

fn set_limit(resource: Resource, limit: Limit) -> Result<(), Errno> {
    let kernel = match resource {
        Resource::As => Kernel::RLIMIT_AS,
        Resource::Core => Kernel::RLIMIT_CORE,
        Resource::Cpu => Kernel::RLIMIT_CPU,
        Resource::Data => Kernel::RLIMIT_DATA,
        Resource::Fsize => Kernel::RLIMIT_FSIZE,
        Resource::Memlock => Kernel::RLIMIT_MEMLOCK,
        Resource::Msgqueue => Kernel::RLIMIT_MSGQUEUE,
        Resource::Nice => Kernel::RLIMIT_NICE,
        Resource::Nofile => Kernel::RLIMIT_NOFILE,
        Resource::Nproc => Kernel::RLIMIT_NPROC,
        Resource::Rtprio => Kernel::RLIMIT_RTPRIO,
        Resource::Sigpending => Kernel::RLIMIT_SIGPENDING,
        Resource::Stack => Kernel::RLIMIT_STACK,
    };
    setrlimit(kernel, limit.soft, limit.hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_added_once() {
        let wanted = Wanted { groups: vec!["0".into(), "4321".into()], ..Wanted::default() };
        let privileges = Privileges::of(&wanted).unwrap();
        let all = privileges.groups(Some(vec![Gid::from_raw(0)])).unwrap();
        assert_eq!(all, Some(vec![Gid::from_raw(0), Gid::from_raw(4321)]));
        assert_eq!(Privileges::default().groups(None).unwrap(), None);
        let wrong = Wanted { groups: vec!["banana".into()], ..Wanted::default() };
        assert_eq!(Privileges::of(&wrong).unwrap_err(), "no such group: banana");
    }
}
