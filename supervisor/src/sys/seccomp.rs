//! Seccomp user notification: a program's `bind`, `listen` and `shutdown` come to the primary and
//! wait for an answer.
//!
//! The program may die between the question and the answer. Then its id is no longer valid, and
//! what was read of it in between is worthless. So: read, then `still_valid`, then act. This module
//! refuses nothing and decides nothing; all other system calls never leave the kernel.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};
use nix::sys::prctl::set_no_new_privs;
use serde::{Deserialize, Serialize};

use super::bpf::{self, Instruction, branch, plain};
use super::poll::poll;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// The offsets of the call's number and the architecture in `struct seccomp_data`.
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;
/// The offset of the lower half of the second argument; both architectures are little-endian.
const SECOND_ARGUMENT_OFFSET: u32 = 24;

/// The second argument of a `shutdown` of the sending side.
const SHUT_WR: u32 = libc::SHUT_WR as u32;

/// The kernel's present structures have 80 bytes and may grow; the extra room must be zero.
#[repr(C)]
struct RoomyNotification {
    known: libc::seccomp_notif,
    room: [u64; 32],
}

/// As above, for answers.
#[repr(C)]
struct RoomyAnswer {
    known: libc::seccomp_notif_resp,
    room: [u64; 32],
}

/// A call that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notification {
    pub(crate) id: u64,
    /// The calling thread.
    pub(crate) tid: u32,
    pub(crate) call: Call,
}

/// The intercepted call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Call {
    Bind {
        fd: i32,
        address_ptr: u64,
        len: u32,
    },
    Listen {
        fd: i32,
        backlog: i32,
    },
    /// Of the receiving side, alone or with the other.
    Shutdown {
        fd: i32,
    },
    Other,
}

/// The result that the call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The call returns 0.
    Success,
    /// The call returns -1 with this errno.
    Errno(i32),
    /// The kernel runs the call as if it had not been stopped.
    Continue,
}

/// Notifies about `bind`, `listen` and `shutdown`, and allows everything else. Calls of other
/// architectures (32-bit programs, x32) have other numbers and are allowed.
///
/// `shutdown(SHUT_WR)` does nothing to a listening socket, and servers end most connections with
/// it: it is allowed without a notification.
///
/// `deny_io_uring`: `io_uring_setup` fails as in a kernel without it.
fn program(deny_io_uring: bool) -> Vec<Instruction> {
    let number = |number: libc::c_long| u32::try_from(number).unwrap_or(u32::MAX);
    let no_call = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let io_uring_setup = if deny_io_uring { no_call } else { libc::SECCOMP_RET_ALLOW };
    vec![
        plain(bpf::LOAD, ARCHITECTURE_OFFSET),
        branch(bpf::IF_EQUAL, ARCHITECTURE, 0, 8),
        plain(bpf::LOAD, NUMBER_OFFSET),
        branch(bpf::IF_EQUAL, number(libc::SYS_io_uring_setup), 0, 1),
        plain(bpf::RETURN, io_uring_setup),
        branch(bpf::IF_EQUAL, number(libc::SYS_bind), 5, 0),
        branch(bpf::IF_EQUAL, number(libc::SYS_listen), 4, 0),
        branch(bpf::IF_EQUAL, number(libc::SYS_shutdown), 0, 2),
        plain(bpf::LOAD, SECOND_ARGUMENT_OFFSET),
        branch(bpf::IF_EQUAL, SHUT_WR, 0, 1),
        plain(bpf::RETURN, libc::SECCOMP_RET_ALLOW),
        plain(bpf::RETURN, libc::SECCOMP_RET_USER_NOTIF),
    ]
}

/// Installs the filter on the calling thread and all that it starts, for ever. Questions come out
/// of the returned descriptor. Gives up the right to gain privileges by exec only if there is no
/// other way: a process with CAP_SYS_ADMIN may install a filter without.
pub(super) fn install(deny_io_uring: bool) -> io::Result<OwnedFd> {
    let code = program(deny_io_uring);
    match install_by_flags(&code) {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            set_no_new_privs()?;
            install_by_flags(&code)
        }
        result => result,
    }
}

/// Gives up the right to gain privileges by exec if [`install`] would have to, and installs
/// nothing.
pub(super) fn give_up_as_install_does() -> io::Result<()> {
    // The kernel looks at the right before it reads the instructions, which are not there.
    let nothing = libc::sock_fprog { len: 1, filter: std::ptr::null_mut() };
    // SAFETY: the kernel refuses instructions at a null pointer, and changes nothing.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const nothing)
    };
    if result != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EACCES) {
        set_no_new_privs()?;
    }
    Ok(())
}

fn install_by_flags(program: &[Instruction]) -> io::Result<OwnedFd> {
    let listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // Killable: once the primary has read a question, only a deadly signal ends the wait for its
    // answer. Without it (before Linux 5.19) a Go program's own signals would make the primary
    // answer twice.
    let killable = listener | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    match install_once(program, killable) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => install_once(program, listener),
        result => result,
    }
}

fn install_once(program: &[Instruction], flags: libc::c_ulong) -> io::Result<OwnedFd> {
    let mut code = bpf::for_kernel(program);
    let len = u16::try_from(code.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len, filter: code.as_mut_ptr() };
    // SAFETY: `program` points to `len` instructions that outlive the call; the kernel copies
    // them.
    let fd = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    match i32::try_from(fd) {
        // SAFETY: the kernel just made this descriptor, close-on-exec; nothing else owns it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The next question. Call this only after `notify` was readable, otherwise it waits for one.
/// `None`: the question is gone with its process.
pub(crate) fn receive(notify: BorrowedFd<'_>) -> io::Result<Option<Notification>> {
    // SAFETY: all fields are integers, for which zero is a value; the kernel demands zeroes.
    let mut buffer: RoomyNotification = unsafe { std::mem::zeroed() };
    match control(notify, libc::SECCOMP_IOCTL_NOTIF_RECV, &mut buffer) {
        Ok(_) => Ok(Some(understand(&buffer.known))),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::EAGAIN | libc::EINTR) => Ok(None),
            _ => Err(error),
        },
    }
}

/// Whether a question waits; `receive` would block otherwise.
pub(crate) fn waiting(notify: BorrowedFd<'_>) -> bool {
    look(notify, Some(Duration::ZERO)).is_ok_and(|seen| seen.contains(PollFlags::POLLIN))
}

/// Whether a process may still ask: the kernel hangs the descriptor up once no process has the
/// filter any more.
pub(crate) fn is_in_use(notify: BorrowedFd<'_>) -> bool {
    look(notify, Some(Duration::ZERO)).is_ok_and(|seen| !seen.contains(PollFlags::POLLHUP))
}

/// Lets every call go on, until no process has the filter any more.
pub(crate) fn let_all_go_on(notify: BorrowedFd<'_>) -> io::Result<()> {
    loop {
        let seen = look(notify, None)?;
        if seen.contains(PollFlags::POLLHUP) {
            return Ok(());
        }
        if seen.contains(PollFlags::POLLIN)
            && let Some(call) = receive(notify)?
        {
            answer(notify, call.id, Answer::Continue)?;
        }
    }
}

/// What there is to see, within this time.
fn look(notify: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<PollFlags> {
    let mut fds = [PollFd::new(notify, PollFlags::POLLIN)];
    poll(&mut fds, timeout)?;
    Ok(fds[0].revents().unwrap_or(PollFlags::empty()))
}

fn understand(notification: &libc::seccomp_notif) -> Notification {
    // The kernel passes whole registers; the calls use only the lower half.
    let [first, second, third, ..] = notification.data.args;
    let number = libc::c_long::from(notification.data.nr);
    let call = if notification.data.arch != ARCHITECTURE {
        Call::Other
    } else if number == libc::SYS_bind {
        Call::Bind { fd: first as i32, address_ptr: second, len: third as u32 }
    } else if number == libc::SYS_listen {
        Call::Listen { fd: first as i32, backlog: second as i32 }
    } else if number == libc::SYS_shutdown {
        Call::Shutdown { fd: first as i32 }
    } else {
        Call::Other
    };
    Notification { id: notification.id, tid: notification.pid, call }
}

/// Whether the caller still waits, so that its thread id is still its own.
pub(crate) fn still_valid(notify: BorrowedFd<'_>, id: u64) -> bool {
    let mut id = id;
    control(notify, libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &mut id).is_ok()
}

/// Answers a call. A caller that is gone is no error.
pub(crate) fn answer(notify: BorrowedFd<'_>, id: u64, answer: Answer) -> io::Result<()> {
    // SAFETY: all fields are integers, for which zero is a value.
    let mut buffer: RoomyAnswer = unsafe { std::mem::zeroed() };
    buffer.known.id = id;
    match answer {
        Answer::Success => {}
        Answer::Errno(errno) => buffer.known.error = -errno,
        Answer::Continue => {
            buffer.known.flags = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or(1);
        }
    }
    match control(notify, libc::SECCOMP_IOCTL_NOTIF_SEND, &mut buffer) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result.map(|_| ()),
    }
}

/// Replaces the caller's fd of this number by a copy of `source`, and closes the old one.
pub(crate) fn replace_fd(
    notify: BorrowedFd<'_>,
    id: u64,
    source: BorrowedFd<'_>,
    target_fd: i32,
    cloexec: bool,
) -> io::Result<()> {
    let mut request = libc::seccomp_notif_addfd {
        id,
        flags: u32::try_from(libc::SECCOMP_ADDFD_FLAG_SETFD).unwrap_or(1),
        srcfd: source.as_raw_fd() as u32,
        newfd: target_fd as u32,
        newfd_flags: if cloexec { libc::O_CLOEXEC as u32 } else { 0 },
    };
    control(notify, libc::SECCOMP_IOCTL_NOTIF_ADDFD, &mut request).map(|_| ())
}

fn control<T>(notify: BorrowedFd<'_>, request: libc::Ioctl, argument: &mut T) -> io::Result<i32> {
    // SAFETY: private, and every caller above passes the structure that belongs to its request (or
    // a larger one that begins with it), which the kernel reads and writes within its size.
    let result = unsafe { libc::ioctl(notify.as_raw_fd(), request, std::ptr::from_mut(argument)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_for_notifications_holds_what_this_kernel_writes() {
        let mut sizes =
            libc::seccomp_notif_sizes { seccomp_notif: 0, seccomp_notif_resp: 0, seccomp_data: 0 };
        // SAFETY: the kernel writes this structure and nothing else.
        let result = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_NOTIF_SIZES, 0, &raw mut sizes)
        };
        assert_eq!(result, 0);
        assert!(usize::from(sizes.seccomp_notif) <= size_of::<RoomyNotification>());
        assert!(usize::from(sizes.seccomp_notif_resp) <= size_of::<RoomyAnswer>());
    }
}
