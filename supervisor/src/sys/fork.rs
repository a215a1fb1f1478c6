//! The two forks that a keeper and its primary need (clone(2)).
//!
//! Both need a process with one thread, as `spawn` does: the child is a whole copy of it and goes
//! on with ordinary code. The C library's own work around fork (locks, handlers) serves processes
//! with more threads.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use super::pidfd::Pid;

/// Which side of a fork this process is.
#[derive(Debug)]
pub(crate) enum Forked<T> {
    Child,
    Parent(T),
}

/// Forks a child that shares the table of descriptors: each side has what the other opens, and
/// loses what the other closes. The table lives until both are gone. An exec in either side ends
/// the sharing.
pub(crate) fn sharing_files() -> io::Result<Forked<Pid>> {
    // SAFETY: there is one thread, so the copy of the memory is consistent. No stack is given, so
    // the child goes on with its copy of this one. The callers take care of descriptors that both
    // own.
    let result = unsafe {
        libc::syscall(libc::SYS_clone, libc::CLONE_FILES | libc::SIGCHLD, 0usize, 0usize, 0usize, 0)
    };
    match u32::try_from(result) {
        Ok(0) => Ok(Forked::Child),
        Ok(pid) => Ok(Forked::Parent(Pid(pid))),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// From now on this process has its own copy of the table of descriptors: a descriptor that it
/// closes stays open for the process that shared the table.
pub(crate) fn leave_files() {
    // This can fail only for lack of memory, and then nothing has changed.
    let _ = nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES);
}

/// Forks a child of this process's parent, with a copy of the descriptors. Returns its pid and
/// pidfd.
pub(crate) fn sibling() -> io::Result<Forked<(Pid, OwnedFd)>> {
    let mut pidfd: libc::c_int = -1;
    let flags = libc::CLONE_PARENT | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: as above. With CLONE_PIDFD the third argument is where the kernel writes an int
    // before it returns to the parent, and `pidfd` lives until then.
    let result = unsafe {
        libc::syscall(libc::SYS_clone, flags, 0usize, std::ptr::from_mut(&mut pidfd), 0usize, 0)
    };
    match u32::try_from(result) {
        Ok(0) => Ok(Forked::Child),
        // SAFETY: the kernel has just made it (close-on-exec); nothing else owns it.
        Ok(pid) => Ok(Forked::Parent((Pid(pid), unsafe { OwnedFd::from_raw_fd(pidfd) }))),
        Err(_) => Err(io::Error::last_os_error()),
    }
}
