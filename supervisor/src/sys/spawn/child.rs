//! The child's way from fork to exec. Runs in a copy of the primary with one thread.
//!
//! The order matters: files before the filter (whose descriptor must not be in their way); the
//! filter before the user (root then needs no promise of no new privileges); limits and priorities
//! before the user (who may not raise them); the folder after the user (who may not be allowed in).
//! It never returns, and leaves no trace in the parent but its reports.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{AccessFlags, Gid, Pid, Uid, access, execve, setgid, setgroups, setpgid, setuid};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::prepared::{Credentials, Launch, Prepared};
use super::report::{GO, Stage, failed, intercepting, not_intercepting};
use crate::sys::{daemon, exec, seccomp};

/// The highest signal number there is.
const LAST_SIGNAL: i32 = 64;

type Step<T> = Result<T, (Stage, io::Error)>;

/// Becomes the program, or reports why not and ends.
pub(super) fn run(prepared: &Prepared<'_>, report: &OwnedFd) -> ! {
    if !may_go_on(report) {
        // SAFETY: as below.
        unsafe { libc::_exit(127) }
    }
    let (report, (stage, error)) = become_program(prepared, report);
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    // If this fails the parent is gone, and a report is useless.
    let _ = tell(&report, &failed(stage, errno), None);
    // SAFETY: ends the process at once; no destructor or exit handler of the parent's copy runs.
    unsafe { libc::_exit(127) }
}

/// Waits for the parent's message to go on; false if the parent is gone.
fn may_go_on(report: &OwnedFd) -> bool {
    let mut word = [0u8; GO.len()];
    loop {
        match rustix::net::recv(report, &mut word, RecvFlags::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.is_ok_and(|(count, _)| count == GO.len()),
        }
    }
}

/// Returns the report socket at its new number, and what went wrong.
fn become_program(prepared: &Prepared<'_>, report: &OwnedFd) -> (OwnedFd, (Stage, io::Error)) {
    // Above every number that the program gets, so that none replaces it.
    let report = match duplicate_above(report.as_fd(), prepared.launch) {
        Ok(moved) => moved,
        Err(error) => match report.try_clone() {
            Ok(copy) => return (copy, (Stage::Files, error)),
            // SAFETY: as in `run`; without a socket the child cannot report.
            Err(_) => unsafe { libc::_exit(127) },
        },
    };
    let Err(failure) = steps(prepared, &report);
    (report, failure)
}

fn steps(prepared: &Prepared<'_>, report: &OwnedFd) -> Step<Infallible> {
    setpgid(Pid::from_raw(0), Pid::from_raw(0)).map_err(at(Stage::Group))?;
    reset_signals();
    hand_over_files(prepared).map_err(|error| (Stage::Files, error))?;
    restore_limits().map_err(at(Stage::Limits))?;
    if prepared.launch.intercept {
        intercept(prepared.launch, report).map_err(|error| (Stage::Files, error))?;
    } else if prepared.launch.as_intercepted {
        seccomp::give_up_as_install_does().map_err(|error| (Stage::NoNewPrivileges, error))?;
    }
    prepared.launch.privileges.before_user()?;
    if let Some(groups) = &prepared.groups {
        let stage = if prepared.user.is_some() { Stage::User } else { Stage::Groups };
        setgroups(groups).map_err(at(stage))?;
    }
    if let Some(user) = &prepared.user {
        become_user(user).map_err(at(Stage::User))?;
    }
    prepared.launch.privileges.after_user()?;
    nix::unistd::chdir(prepared.cwd.as_c_str()).map_err(at(Stage::WorkingFolder))?;
    execute(prepared)
}

fn at(stage: Stage) -> impl Fn(Errno) -> (Stage, io::Error) {
    move |errno| (stage, errno.into())
}

/// Resets all handlers to the default, and then unblocks all signals. In this order: a signal that
/// arrived before must not find the parent's handler.
fn reset_signals() {
    for number in 1..=LAST_SIGNAL {
        // SAFETY: SIG_DFL runs no code of this program. KILL, STOP and the C library's own two
        // refuse, which is right.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    // The kernel has no reason to refuse this.
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// Gives every descriptor its number. First all sources move above all targets, since a source may
/// have the number that another one is to get.
fn hand_over_files(prepared: &Prepared<'_>) -> io::Result<()> {
    let launch = prepared.launch;
    exec::close_at_exec()?;
    let standard = [(prepared.null.as_fd(), 0), (launch.stdout, 1), (launch.stderr, 2)];
    let mut moved = Vec::with_capacity(standard.len() + launch.inherit.len());
    for (source, target) in standard.iter().chain(&launch.inherit) {
        moved.push((duplicate_above(*source, launch)?, *target));
    }
    for (source, target) in &moved {
        duplicate_onto(source, *target)?;
    }
    Ok(())
}

/// A close-on-exec copy with a number above all that the program gets.
fn duplicate_above(source: BorrowedFd<'_>, launch: &Launch<'_>) -> io::Result<OwnedFd> {
    let highest = launch.inherit.iter().map(|(_, target)| *target).max().unwrap_or(2).max(2);
    // SAFETY: makes a new fd out of an open one.
    let copy = unsafe {
        libc::fcntl(source.as_raw_fd(), libc::F_DUPFD_CLOEXEC, highest.saturating_add(1))
    };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made it; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Lets the program inherit it under this number, and replaces any descriptor there.
fn duplicate_onto(source: &OwnedFd, target: RawFd) -> io::Result<()> {
    // SAFETY: closes the descriptor that this process has under `target`. This process is about to
    // exec: no owner of such a descriptor will use or close it again.
    let result = unsafe { libc::dup2(source.as_raw_fd(), target) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Undoes the limits that the primary raised for itself.
fn restore_limits() -> nix::Result<()> {
    let Some(soft) = daemon::original_nofile() else { return Ok(()) };
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard)
}

/// Installs the filter. A refusal is reported, and the child starts all the same.
fn intercept(launch: &Launch<'_>, report: &OwnedFd) -> io::Result<()> {
    match seccomp::install(launch.deny_io_uring) {
        Ok(notify) => tell(report, &intercepting(), Some(notify.as_fd())),
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            tell(report, &not_intercepting(errno), None)
        }
    }
}

fn tell(report: &OwnedFd, message: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds: &[BorrowedFd<'_>] = fd.as_slice();
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    sendmsg(report, &[IoSlice::new(message)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// In this order: after the last step the others are no longer allowed.
fn become_user(user: &Credentials) -> nix::Result<()> {
    setgid(Gid::from_raw(user.gid))?;
    setuid(Uid::from_raw(user.uid))
}

/// Tries every folder of PATH, as the shell does.
fn execute(prepared: &Prepared<'_>) -> Step<Infallible> {
    let mut env = prepared.env.clone();
    if prepared.listen_pid {
        let own = format!("LISTEN_PID={}", std::process::id());
        env.extend(CString::new(own).ok());
    }
    let mut refused = None;
    for candidate in &prepared.candidates {
        let Err(errno) = execve(candidate, &prepared.argv, &env);
        match errno {
            Errno::ENOENT if exists(candidate) => return Err(at(Stage::Interpreter)(errno)),
            Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE | Errno::ENODEV => {}
            // A later folder may have a program that runs.
            Errno::EACCES => refused = Some(errno),
            _ => return Err(at(Stage::Exec)(errno)),
        }
    }
    Err(match refused {
        Some(errno) => at(Stage::Exec)(errno),
        None => at(Stage::Command)(Errno::ENOENT),
    })
}

fn exists(file: &CStr) -> bool {
    access(file, AccessFlags::F_OK).is_ok()
}
