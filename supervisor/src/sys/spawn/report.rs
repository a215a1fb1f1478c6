//! What parent and child say to each other between fork and exec, on a socket that the exec closes:
//! ```text
//! parent: go
//! child:  [Intercepting + fd | NotIntercepting errno]?  then  exec (= end of stream)
//!                                                         or  Failed stage errno
//! ```

use std::fmt;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::sys::packets;

/// A report from the child.
#[derive(Debug)]
pub(crate) enum Report {
    /// The seccomp notification fd. Another report follows.
    Intercepting(OwnedFd),
    /// The kernel, or a process above this one, does not allow interception; the child goes on
    /// without it. Another report follows.
    NotIntercepting(io::Error),
    /// Exec succeeded, or the child was killed before; its pidfd tells which.
    Running,
    /// No program runs; the child ends with code 127.
    Failed { stage: Stage, error: io::Error },
}

/// The steps towards exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Group,
    Files,
    Limits,
    OomScore,
    Nice,
    Resources,
    Groups,
    User,
    NoNewPrivileges,
    WorkingFolder,
    /// There is no such command.
    Command,
    /// The command exists, but the program that its first line names (or its loader) does not.
    Interpreter,
    Exec,
}

impl Stage {
    const ALL: [Self; 13] = [
        Self::Group,
        Self::Files,
        Self::Limits,
        Self::OomScore,
        Self::Nice,
        Self::Resources,
        Self::Groups,
        Self::User,
        Self::NoNewPrivileges,
        Self::WorkingFolder,
        Self::Command,
        Self::Interpreter,
        Self::Exec,
    ];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Group => "cannot make a process group",
            Self::Files => "cannot hand over the files",
            Self::Limits => "cannot set the limits",
            Self::OomScore => "cannot set oom_score_adj",
            Self::Nice => "cannot set nice",
            Self::Resources => "cannot set the limits asked for",
            Self::Groups => "cannot take the groups",
            Self::User => "cannot become the user",
            Self::NoNewPrivileges => "cannot set no_new_privs",
            Self::WorkingFolder => "cannot enter the working folder",
            Self::Command => "no such command",
            Self::Interpreter => "the interpreter that the command names is missing",
            Self::Exec => "cannot run the command",
        })
    }
}

/// Lets a child go on to its exec. If the child is gone already, its pidfd shows that.
pub(crate) fn go(report: BorrowedFd<'_>) {
    let _ = packets::send(report, GO);
}

/// The message that the child waits for.
pub(super) const GO: &[u8] = b"go";

/// The length of a child's message: kind, stage, errno.
pub(super) const MESSAGE: usize = 6;
const INTERCEPTING: u8 = 1;
const NOT_INTERCEPTING: u8 = 2;
const FAILED: u8 = 3;

pub(super) fn intercepting() -> [u8; MESSAGE] {
    message(INTERCEPTING, 0, 0)
}

pub(super) fn not_intercepting(errno: i32) -> [u8; MESSAGE] {
    message(NOT_INTERCEPTING, 0, errno)
}

pub(super) fn failed(stage: Stage, errno: i32) -> [u8; MESSAGE] {
    message(FAILED, stage as u8, errno)
}

fn message(kind: u8, stage: u8, errno: i32) -> [u8; MESSAGE] {
    let [a, b, c, d] = errno.to_ne_bytes();
    [kind, stage, a, b, c, d]
}

/// The child's next report, which stays in the socket until `done_with`; a descriptor in it
/// is a copy. `None`: there is no report yet.
pub(crate) fn look_at(report: BorrowedFd<'_>) -> io::Result<Option<Report>> {
    receive(report, RecvFlags::PEEK)
}

/// Removes the report that `look_at` returned.
pub(crate) fn done_with(report: BorrowedFd<'_>) {
    // If this fails, the next `look_at` fails too.
    let _ = receive(report, RecvFlags::DONTWAIT);
}

fn receive(report: BorrowedFd<'_>, how: RecvFlags) -> io::Result<Option<Report>> {
    let mut bytes = [0u8; MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [IoSliceMut::new(&mut bytes)];
    let received = loop {
        match recvmsg(report, &mut buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC | how) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            // The child was killed with an unread message from this process; that is its end.
            Err(rustix::io::Errno::CONNRESET) => return Ok(Some(Report::Running)),
            result => break result?.bytes,
        }
    };
    let mut fds = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let fd = fds.next();
    drop(fds);
    if received == 0 {
        return Ok(Some(Report::Running));
    }
    let [kind, stage, errno @ ..] = bytes;
    let error = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
    let report = match (kind, fd, Stage::ALL.get(usize::from(stage))) {
        (INTERCEPTING, Some(notify), _) => Report::Intercepting(notify),
        (NOT_INTERCEPTING, None, _) => Report::NotIntercepting(error),
        (FAILED, None, Some(stage)) => Report::Failed { stage: *stage, error },
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    Ok(Some(report))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_survives_the_wire() {
        for (number, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, number);
        }
    }
}
