//! The lease of the leader. At most one process of an app holds it.
//!
//! The lease is a lock by flock(2), which belongs to the open file description that this worker
//! inherited. All processes that share the description have it: after a fork, that is the parent
//! and the child. So the one that leads also holds a lock by fcntl(2) on the same file, which
//! belongs to one process. A process gives that up when it closes any descriptor of the file, so
//! ours stay open.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, OnceLock};

use rustix::fs::{FlockOperation, fcntl_lock, flock};
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd, retry_on_intr};

use crate::descriptor;
use crate::sync::locked;

const VARIABLE: &str = "SUPERVISOR_LEADER_FD";
/// What /proc shows of the file behind the descriptor.
const FILE: &str = "/memfd:supervisor-leader";

/// Whether this process leads its app at this moment, which needs `leader = true`. If no process
/// does, this one does from now on, until it ends: ask only where the work would be done. Without a
/// supervisor a process is alone, and leads.
///
/// The kernel is the judge. Two processes never lead at once, whatever is killed, stopped, forked
/// or reloaded. A leader that is stopped is still the leader.
pub fn is_leader() -> io::Result<bool> {
    lease()?.map_or(Ok(true), Lease::is_ours)
}

/// Waits until this process leads its app, and returns at once if it does: see [`is_leader`]. It
/// waits for as long as another process leads, so give it a thread of its own.
pub fn until_leader() -> io::Result<()> {
    lease()?.map_or(Ok(()), Lease::wait)
}

/// See the module.
#[derive(Debug)]
struct Lease {
    /// A descriptor of the inherited description.
    shared: OwnedFd,
    /// One of a description of our own, for the lock of this process.
    own: File,
}

/// The lease of this process. `None` without a supervisor.
fn lease() -> io::Result<Option<&'static Lease>> {
    static LEASE: OnceLock<Lease> = OnceLock::new();
    static OPENING: Mutex<()> = Mutex::new(());
    let _one = locked(&OPENING);
    if let Some(lease) = LEASE.get() {
        return Ok(Some(lease));
    }
    match env::var(VARIABLE) {
        Ok(number) => Lease::inherited(&number).map(|lease| Some(LEASE.get_or_init(|| lease))),
        Err(_) if env::var_os("SUPERVISOR_APP").is_none() => Ok(None),
        Err(_) => {
            let reason = "cannot ask who leads: the app has no lease; set leader = true";
            Err(io::Error::new(ErrorKind::Unsupported, reason))
        }
    }
}

impl Lease {
    fn inherited(number: &str) -> io::Result<Self> {
        let wrong = |why: &str| {
            let reason = format!("cannot ask who leads: {VARIABLE}={number}: {why}");
            io::Error::new(ErrorKind::InvalidData, reason)
        };
        let fd: i32 = number.parse().map_err(|_| wrong("not a number"))?;
        if !descriptor::is_open(fd, FILE) {
            return Err(wrong("not the lease (only the worker's own process inherits it)"));
        }
        Self::of(borrowed(fd))
    }

    fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        // A program that this one starts must not share the lease.
        fcntl_setfd(fd, FdFlags::CLOEXEC)?;
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let own = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { shared: fcntl_dupfd_cloexec(fd, 0)?, own })
    }

    fn is_ours(&self) -> io::Result<bool> {
        let operation = FlockOperation::NonBlockingLockExclusive;
        Ok(taken(flock(&self.shared, operation))? && taken(fcntl_lock(&self.own, operation))?)
    }

    fn wait(&self) -> io::Result<()> {
        retry_on_intr(|| flock(&self.shared, FlockOperation::LockExclusive))?;
        Ok(retry_on_intr(|| fcntl_lock(&self.own, FlockOperation::LockExclusive))?)
    }
}

/// Whether a lock was free, or ours.
fn taken(lock: rustix::io::Result<()>) -> io::Result<bool> {
    match lock {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[expect(unsafe_code, reason = "an inherited descriptor is a bare number")]
fn borrowed(number: i32) -> BorrowedFd<'static> {
    // SAFETY: /proc has just shown that the descriptor is the open lease. The supervisor left it
    // for this process for its whole life, and the caller makes a copy of it at once.
    unsafe { BorrowedFd::borrow_raw(number) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    /// Two workers' descriptions of one lease.
    fn two() -> [File; 2] {
        let file = File::from(memfd_create("supervisor-leader", MemfdFlags::CLOEXEC).unwrap());
        [(); 2].map(|()| File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap())
    }

    #[test]
    fn one_leads_until_it_ends_and_the_other_one_does_then() {
        let [one, other] = two();
        let lease = Lease::of(one.as_fd()).unwrap();
        assert!(lease.is_ours().unwrap() && lease.is_ours().unwrap());
        lease.wait().unwrap();
        let waits = Lease::of(other.as_fd()).unwrap();
        assert!(!waits.is_ours().unwrap());
        let next = std::thread::spawn(move || waits.wait().map(|()| waits));
        drop(one);
        drop(lease);
        let next = next.join().unwrap().unwrap();
        assert!(next.is_ours().unwrap());
    }

    #[test]
    fn what_is_not_the_lease_is_refused() {
        let file = File::open("/dev/null").unwrap();
        for (number, why) in [("x", "not a number"), (&file.as_raw_fd().to_string(), "not the")] {
            let error = Lease::inherited(number).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
        let [one, _] = two();
        assert!(Lease::inherited(&one.as_raw_fd().to_string()).unwrap().is_ours().unwrap());
    }
}
