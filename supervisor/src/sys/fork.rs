//! The two forks that a keeper and its primary need (clone(2)).
//!
//! Both need a process with one thread, as `spawn` does: the child is a whole copy of it and goes
//! on with ordinary code. What the C library does around its own fork (locks, handlers) is for
//! processes with more threads.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use super::pidfd::Pid;

/// Who we are after a fork.
#[derive(Debug)]
pub(crate) enum Forked<T> {
    Child,
    Parent(T),
}

/// A child that shares our table of descriptors: what either opens, both have; what either closes,
/// neither has. The table lives as long as one of them does. An exec in either ends the sharing.
pub(crate) fn sharing_files() -> io::Result<Forked<Pid>> {
    // SAFETY: one thread, so the copy of the memory is consistent; no stack is given, so the child
    // goes on with its copy of ours. Descriptors that both own are the callers' care.
    let result = unsafe {
        libc::syscall(libc::SYS_clone, libc::CLONE_FILES | libc::SIGCHLD, 0usize, 0usize, 0usize, 0)
    };
    match u32::try_from(result) {
        Ok(0) => Ok(Forked::Child),
        Ok(pid) => Ok(Forked::Parent(Pid(pid))),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// From now on we have a copy of the table of descriptors: what we close stays open for whoever
/// shared it with us.
pub(crate) fn leave_files() {
    // It can only fail for want of memory, and then all is as it was.
    let _ = nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES);
}

/// A child of our parent, with a copy of our descriptors, and its pidfd.
pub(crate) fn sibling() -> io::Result<Forked<(Pid, OwnedFd)>> {
    let mut pidfd: libc::c_int = -1;
    let flags = libc::CLONE_PARENT | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: as above; with CLONE_PIDFD the third argument is where the kernel writes an int,
    // before it returns to the parent, and `pidfd` lives until then.
    let result = unsafe {
        libc::syscall(libc::SYS_clone, flags, 0usize, std::ptr::from_mut(&mut pidfd), 0usize, 0)
    };
    match u32::try_from(result) {
        Ok(0) => Ok(Forked::Child),
        // SAFETY: the kernel has just made it for us (close-on-exec); nobody else owns it.
        Ok(pid) => Ok(Forked::Parent((Pid(pid), unsafe { OwnedFd::from_raw_fd(pidfd) }))),
        Err(_) => Err(io::Error::last_os_error()),
    }
}
