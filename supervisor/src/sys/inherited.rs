//! Descriptors that this process was started with, by number, as LISTEN_FDS names them.
//!
//! A descriptor that is not a listening stream socket is refused and stays untouched.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{SockType, getsockopt, sockopt};

/// Takes one over: from now on it closes with its owner, and at exec.
///
/// Call this once for each number, before anything else in this process opens or closes descriptors
/// by number.
pub(crate) fn take(number: RawFd) -> io::Result<OwnedFd> {
    if std::fs::metadata(format!("/proc/self/fd/{number}")).is_err() {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: it is open, as was just checked, and LISTEN_PID and LISTEN_FDS say that this process
    // owns it. The caller takes each number once.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    let listens = getsockopt(&fd, sockopt::AcceptConn).unwrap_or(false);
    let streams = getsockopt(&fd, sockopt::SockType) == Ok(SockType::Stream);
    if !listens || !streams {
        // This process does not own it.
        std::mem::forget(fd);
        return Err(io::Error::other("it is not a listening stream socket"));
    }
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(fd)
}

/// Takes over the memory files that a keeper of another build left in this process, under these
/// numbers.
///
/// Call this once, before anything else in this process opens or closes descriptors by number.
pub(crate) fn take_memory(numbers: [RawFd; 3]) -> io::Result<[OwnedFd; 3]> {
    let [one, other, journal] = numbers;
    if one == other || other == journal || journal == one {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for number in numbers {
        let what = std::fs::read_link(format!("/proc/self/fd/{number}"))?;
        if !what.to_string_lossy().starts_with("/memfd:supervisor-") {
            return Err(io::Error::other(format!("descriptor {number} is {}", what.display())));
        }
    }
    // SAFETY: they are open, as was just checked, each once, and the previous program of this
    // process left them for this one.
    Ok(numbers.map(|number| unsafe { OwnedFd::from_raw_fd(number) }))
}

/// Takes over the descriptor of the program that this process ran before. As for `take_memory`.
pub(crate) fn take_program(number: RawFd) -> io::Result<OwnedFd> {
    if !std::fs::metadata(format!("/proc/self/fd/{number}"))?.is_file() {
        return Err(io::Error::other(format!("descriptor {number} is no program")));
    }
    // SAFETY: as for `take_memory`.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
