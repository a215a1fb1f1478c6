//! One child, held by a pidfd: how it ended, and signals that cannot reach another process.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::base::exit::Exit;

/// A process id. It names the child only until the child is reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Pid(pub(crate) u32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Pid> for nix::unistd::Pid {
    fn from(pid: Pid) -> Self {
        Self::from_raw(pid.0.cast_signed())
    }
}

/// A pidfd of a process whose pid is known to be still its own.
pub(crate) fn open(pid: Pid) -> io::Result<OwnedFd> {
    Ok(rustix::process::pidfd_open(number(pid)?, rustix::process::PidfdFlags::empty())?)
}

/// How a child ended, if it has. The child stays a zombie, so its pid and its group stay its own.
/// Only for a process that reaps all its children itself, so that nothing else can have freed the
/// pid.
pub(crate) fn peek_child(pid: Pid) -> io::Result<Option<Exit>> {
    ended(WaitId::Pid(number(pid)?), WaitIdOptions::NOWAIT)
}

/// As `peek_child`, and reaps the child.
pub(crate) fn reap_child(pid: Pid) -> io::Result<Option<Exit>> {
    ended(WaitId::Pid(number(pid)?), WaitIdOptions::empty())
}

fn number(pid: Pid) -> io::Result<rustix::process::Pid> {
    rustix::process::Pid::from_raw(pid.0.cast_signed())
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn ended(id: WaitId<'_>, how: WaitIdOptions) -> io::Result<Option<Exit>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | how;
    loop {
        let status = match waitid(id.clone(), options) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let Some(status) = status else { return Ok(None) };
        return match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Ok(Some(Exit::Code(code))),
            (None, Some(signal)) => Ok(Some(Exit::Signal(signal))),
            (None, None) => Err(io::Error::other("waitid gave neither exit code nor signal")),
        };
    }
}

/// Sends a signal to this process only. Works for real-time signals too.
pub(crate) fn signal(pidfd: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open for the call; a null siginfo is allowed and nothing is
    // written.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), number, no_info, 0u32)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends a signal to every process of the group that this child leads. An empty group is no error.
/// Call this only before the child is reaped: afterwards another process may have the number.
pub(crate) fn signal_group(leader: Pid, number: i32) -> io::Result<()> {
    let group = match libc::pid_t::try_from(leader.0) {
        // 0 and 1 would mean our own group and every process of the machine.
        Ok(group) if group > 1 => group,
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    // SAFETY: takes and writes no memory; the group is that of a child of this process.
    if unsafe { libc::kill(-group, number) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ESRCH) { Ok(()) } else { Err(error) }
}
