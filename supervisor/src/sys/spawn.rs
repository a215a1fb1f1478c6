//! Starts a worker by a plain fork, and reads the child's reports until its exec.
//!
//! Needs a process with one thread: the child runs ordinary code between fork and exec
//! (`spawn_child`). Everything that can fail for lack of memory or because of a bad name is
//! prepared before the fork.
//!
//! The child waits until the parent tells it to go on ([`go`]): by then the state records the
//! child. If the parent is gone, the child ends.
//!
//! The two talk on a socket that the child's exec closes:
//! ```text
//! parent: go
//! child:  [Intercepting + fd | NotIntercepting errno]?  then  exec (= end of stream)
//!                                                         or  Failed stage errno
//! ```

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{ForkResult, Gid, fork, getgrouplist, setpgid};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags,
    SocketType, recvmsg, socketpair,
};
use rustix::process::{Pid as RawPid, PidfdFlags, pidfd_open};

use super::fork::Forked;
use super::privileges::Privileges;
use super::users::{self, Identity};
use super::{pidfd::Pid, socket, spawn_child};

/// Where to look for a program if the environment has no PATH, as in the C library.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What to start, and how.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// The program and its arguments. The program is looked up on the PATH of `env`.
    pub(crate) argv: Vec<OsString>,
    /// The complete environment.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Whether to add LISTEN_PID, the child's own pid.
    pub(crate) listen_pid: bool,
    pub(crate) cwd: &'a Path,
    pub(crate) user: Option<Identity>,
    pub(crate) privileges: Privileges,
    /// Standard output. (Standard input is /dev/null.)
    pub(crate) stdout: BorrowedFd<'a>,
    pub(crate) stderr: BorrowedFd<'a>,
    /// The child inherits these descriptors under exactly these numbers, from 3 on, and nothing
    /// else.
    pub(crate) inherit: Vec<(BorrowedFd<'a>, i32)>,
    /// Whether to intercept its `bind` and `listen`.
    pub(crate) intercept: bool,
    /// Whether it becomes a child of this process's parent, which then has to reap it.
    pub(crate) sibling: bool,
}

/// A child on its way to exec.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
    /// The socket for `look_at_report`; it never blocks.
    pub(crate) report: OwnedFd,
}

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

/// Everything that the child needs, in the form that the kernel takes.
pub(super) struct Prepared<'a> {
    /// The paths where the program may be, in the order of PATH.
    pub(super) candidates: Vec<CString>,
    pub(super) argv: Vec<CString>,
    pub(super) env: Vec<CString>,
    pub(super) listen_pid: bool,
    pub(super) cwd: CString,
    pub(super) user: Option<Credentials>,
    /// The supplementary groups, if they differ from those of this process.
    pub(super) groups: Option<Vec<Gid>>,
    pub(super) null: OwnedFd,
    pub(super) launch: &'a Launch<'a>,
}

/// The user that the child becomes.
pub(super) struct Credentials {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Starts a child. It may still fail before exec: see `look_at_report`.
pub(crate) fn spawn(launch: &Launch<'_>) -> io::Result<Spawned> {
    let prepared = Prepared::new(launch)?;
    let kind = SocketType::SEQPACKET;
    let (report, childs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    socket::set_nonblocking(std::os::fd::AsFd::as_fd(&report), true)?;

    // A signal to the child, before it has reset its handlers, would run the parent's handlers with
    // the parent's pipe.
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), Some(&mut before))?;
    let forked = if launch.sibling { super::fork::sibling() } else { fork_child() };
    if let Ok(Forked::Child) = forked {
        // Otherwise the child would never notice that its parent is gone.
        drop(report);
        spawn_child::run(&prepared, &childs);
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
    // child never returns from `spawn_child::run`.
    let ForkResult::Parent { child } = unsafe { fork() }? else { return Ok(Forked::Child) };
    let raw = RawPid::from_raw(child.as_raw()).ok_or(io::ErrorKind::InvalidData)?;
    match pidfd_open(raw, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Forked::Parent((Pid(child.as_raw().unsigned_abs()), pidfd))),
        Err(error) => {
            // Out of descriptors: without a pidfd this child cannot be watched, so it must end.
            let _ = nix::sys::signal::kill(child, Signal::SIGKILL);
            let _ = nix::sys::wait::waitpid(child, None);
            Err(error.into())
        }
    }
}

/// Lets a child go on to its exec. If the child is gone already, its pidfd shows that.
pub(crate) fn go(report: BorrowedFd<'_>) {
    let _ = rustix::net::send(report, GO, SendFlags::NOSIGNAL);
}

impl<'a> Prepared<'a> {
    fn new(launch: &'a Launch<'a>) -> io::Result<Self> {
        let program = launch.argv.first().ok_or_else(|| invalid("an empty command"))?;
        let path = launch.env.iter().rev().find(|(key, _)| key == "PATH");
        let path = path.map_or_else(|| OsStr::new(DEFAULT_PATH), |(_, path)| path.as_os_str());
        if launch.inherit.iter().any(|(_, number)| *number < 3) {
            return Err(invalid("an inherited fd below 3"));
        }
        let variable = |(key, value): &(OsString, OsString)| {
            c_string([key.as_bytes(), b"=", value.as_bytes()].concat())
        };
        let (user, groups) = credentials(launch)?;
        Ok(Self {
            candidates: candidates(program, path)?,
            argv: launch
                .argv
                .iter()
                .map(|word| c_string(word.as_bytes()))
                .collect::<Result<_, _>>()?,
            env: launch.env.iter().map(variable).collect::<Result<_, _>>()?,
            listen_pid: launch.listen_pid,
            cwd: c_string(launch.cwd.as_os_str().as_bytes())?,
            user,
            groups,
            null: std::fs::File::open("/dev/null")?.into(),
            launch,
        })
    }
}

/// The user to become and the groups to have. `None`: those of this process.
fn credentials(launch: &Launch<'_>) -> io::Result<(Option<Credentials>, Option<Vec<Gid>>)> {
    let user = launch.user.as_ref().filter(|identity| !users::is_ourselves(identity));
    let Some(identity) = user else { return Ok((None, launch.privileges.groups(None)?)) };
    let gid = Gid::from_raw(identity.gid);
    let groups = match &identity.name {
        Some(name) => getgrouplist(name, gid)?,
        None => vec![gid],
    };
    let groups = launch.privileges.groups(Some(groups))?;
    Ok((Some(Credentials { uid: identity.uid, gid: identity.gid }), groups))
}

fn candidates(program: &OsStr, path: &OsStr) -> io::Result<Vec<CString>> {
    if program.is_empty() {
        return Err(invalid("an empty command"));
    }
    if program.as_bytes().contains(&b'/') {
        return Ok(vec![c_string(program.as_bytes())?]);
    }
    folders(path).map(|folder| c_string(folder.join(program).into_os_string().into_vec())).collect()
}

/// The folders of a PATH; an empty entry means the present folder.
fn folders(path: &OsStr) -> impl Iterator<Item = PathBuf> + '_ {
    path.as_bytes().split(|byte| *byte == b':').map(|folder| {
        Path::new(if folder.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(folder) })
            .to_path_buf()
    })
}

fn c_string(bytes: impl Into<Vec<u8>>) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| invalid("a zero byte in the command or environment"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{what} cannot be started"))
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

/// The child's next report, which stays in the socket until `done_with_report`; a descriptor in it
/// is a copy. `None`: there is no report yet.
pub(crate) fn look_at_report(report: BorrowedFd<'_>) -> io::Result<Option<Report>> {
    receive(report, RecvFlags::PEEK)
}

/// Removes the report that `look_at_report` returned.
pub(crate) fn done_with_report(report: BorrowedFd<'_>) {
    // If this fails, the next `look_at_report` fails too.
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
