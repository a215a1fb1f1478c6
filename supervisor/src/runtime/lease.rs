//! The lease of the leader: a file without a name that at most one worker has locked (flock(2)).
//!
//! A lock by flock belongs to an open file description. So each worker gets a description of its
//! own. Whatever shares it, such as a child of the worker, shares the lease, and when its last
//! descriptor is closed, the kernel gives the lease up. The primary never locks the file: no
//! decision and no delay of its own stands between the death of one leader and the next. A path
//! could be deleted or replaced, and there would be two files with a leader each; this file has
//! none. It lasts as long as the app: the shared table keeps it when the primary dies, and the
//! snapshot names it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fstat};

use crate::sys::held::{Claims, Held};
use crate::sys::pidfd::Pid;
use crate::sys::procfs;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Lease(Option<OwnedFd>);

impl Lease {
    /// With the file of a predecessor, if that made one; or without it, and what to say of that.
    pub(in crate::runtime) fn found(
        held: Option<Held>,
        claims: &mut Claims,
    ) -> (Self, Option<String>) {
        match held.map(|held| claims.claim(held)).transpose() {
            Ok(file) => (Self(file), None),
            Err(error) => {
                let lost = format!(
                    "the lease of the leader was lost: {error}; until you have reloaded the app, \
                     an old and a new worker may both be leader"
                );
                (Self(None), Some(lost))
            }
        }
    }

    /// The file, for the snapshot.
    pub(in crate::runtime) fn held(&self) -> Option<Held> {
        self.0.as_ref().map(|file| Held::of(file.as_fd()))
    }

    /// A description of the file for one more worker.
    pub(in crate::runtime) fn open(&mut self) -> io::Result<OwnedFd> {
        let file = match self.0.take() {
            Some(file) => file,
            None => make()?,
        };
        let file = self.0.insert(file);
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?)
    }

    /// Whether a worker has it. `number`: that of its description there.
    pub(in crate::runtime) fn is_held_by(&self, pid: Pid, number: i32) -> bool {
        let inode = self.0.as_ref().and_then(|file| fstat(file).ok()).map(|stat| stat.st_ino);
        inode.is_some_and(|inode| procfs::has_locked(pid.0, number, inode))
    }
}

/// Nobody can write to it: it takes no memory.
fn make() -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let file = memfd_create("supervisor-leader", flags)?;
    let seals = SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_WRITE;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals | SealFlag::F_SEAL_SEAL))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn one_of_all_that_have_it_holds_it_until_its_last_copy_is_closed() {
        let mut lease = Lease::default();
        assert_eq!(lease.held(), None);
        let [one, other] = [(); 2].map(|()| File::from(lease.open().unwrap()));
        one.try_lock().unwrap();
        one.try_lock().expect("the holder locks it again");
        let copy = one.try_clone().unwrap();
        drop(one);
        assert!(other.try_lock().is_err(), "a copy lives");
        drop(copy);
        other.try_lock().unwrap();
        let inode = fstat(&other).unwrap().st_ino;
        let sees = |file: &File| procfs::has_locked(std::process::id(), file.as_raw_fd(), inode);
        let third = File::from(lease.open().unwrap());
        assert!(sees(&other) && !sees(&third));
        assert!(lease.held().is_some());
    }

    #[test]
    fn nobody_can_fill_it() {
        use std::io::Write;
        let mut lease = Lease::default();
        lease.open().unwrap();
        let path = format!("/proc/self/fd/{}", lease.0.as_ref().unwrap().as_raw_fd());
        let written = File::options().write(true).open(path).and_then(|mut f| f.write_all(b"x"));
        assert!(written.is_err());
    }
}
