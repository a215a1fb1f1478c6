//! Starts a worker by a plain fork, and reads the child's reports until its exec.
//!
//! Needs a process with one thread: the child runs ordinary code between fork and exec
//! (`child`). Everything that can fail for lack of memory or because of a bad name is
//! prepared before the fork.
//!
//! The child waits until the parent tells it to go on ([`report::go`]): by then the state records
//! the child. If the parent is gone, the child ends.

mod child;
mod prepared;
pub(crate) mod report;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{ForkResult, fork, setpgid};

use self::prepared::Prepared;
use super::fork::Forked;
use super::pidfd::{self, Pid};
use super::socket;

pub(crate) use self::prepared::Launch;

/// A child on its way to exec.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
    /// The socket for `report::look_at`; it never blocks.
    pub(crate) report: OwnedFd,
}

/// Starts a child. It may still fail before exec: see `report::look_at`.
pub(crate) fn spawn(launch: &Launch<'_>) -> io::Result<Spawned> {
    let prepared = Prepared::new(launch)?;
    let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
    let (report, childs) = socketpair(AddressFamily::Unix, kind, None, flags)?;
    socket::set_nonblocking(report.as_fd(), true)?;

    // A signal to the child, before it has reset its handlers, would run the parent's handlers with
    // the parent's pipe.
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), Some(&mut before))?;
    let forked = if launch.sibling { super::fork::sibling() } else { fork_child() };
    if let Ok(Forked::Child) = forked {
        // Otherwise the child would never notice that its parent is gone.
        drop(report);
        child::run(&prepared, &childs);
    }
    let unblocked = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    let Forked::Parent((pid, pidfd)) = forked? else {
        unreachable!("the child does not come here")
    };
    unblocked?;
    // The child does the same; the second call changes nothing, or fails because the child has
    // executed.
    let _ = setpgid(pid.into(), pid.into());
    Ok(Spawned { pid, pidfd, report })
}

/// Forks a child of this process.
fn fork_child() -> io::Result<Forked<(Pid, OwnedFd)>> {
    // SAFETY: there is one thread, so no other thread holds a lock that the child would miss; the
    // child never returns from `child::run`.
    let ForkResult::Parent { child } = unsafe { fork() }? else { return Ok(Forked::Child) };
    let pid = Pid(child.as_raw().unsigned_abs());
    match pidfd::open(pid) {
        Ok(pidfd) => Ok(Forked::Parent((pid, pidfd))),
        Err(error) => {
            // Out of descriptors: without a pidfd this child cannot be watched, so it must end.
            let _ = nix::sys::signal::kill(child, Signal::SIGKILL);
            let _ = nix::sys::wait::waitpid(child, None);
            Err(error)
        }
    }
}
