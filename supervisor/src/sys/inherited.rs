//! Descriptors that this process was started with, by number, as LISTEN_FDS names them.
//!
//! What is no listening stream socket is refused and stays untouched.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{SocketType, sockopt};

/// Takes one over: from now on it is closed with its owner, and at exec.
///
/// To be called once for each number, and before anything else in this process opens or closes
/// descriptors by number.
pub(crate) fn take(number: RawFd) -> io::Result<OwnedFd> {
    if rustix::fs::stat(format!("/proc/self/fd/{number}")).is_err() {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: it is open, as was just seen, and whoever started this process said by LISTEN_PID and
    // LISTEN_FDS that it is this process's to own. The caller takes each number once.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    let listens = sockopt::socket_acceptconn(&fd).unwrap_or(false);
    let streams = sockopt::socket_type(&fd).is_ok_and(|kind| kind == SocketType::STREAM);
    if !listens || !streams {
        // It was never ours.
        std::mem::forget(fd);
        return Err(io::Error::other("it is not a listening stream socket"));
    }
    fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// Takes over the memory that a keeper of another build left in this process, under these numbers.
///
/// To be called once, before anything else in this process opens or closes descriptors by number.
pub(crate) fn take_memory(numbers: [RawFd; 3]) -> io::Result<[OwnedFd; 3]> {
    let [one, other, slip] = numbers;
    if one == other || other == slip || slip == one {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for number in numbers {
        let what = std::fs::read_link(format!("/proc/self/fd/{number}"))?;
        if !what.to_string_lossy().starts_with("/memfd:supervisor-") {
            return Err(io::Error::other(format!("descriptor {number} is {}", what.display())));
        }
    }
    // SAFETY: they are open, as was just seen, each once, and whoever was this process before said
    // that they are for us.
    Ok(numbers.map(|number| unsafe { OwnedFd::from_raw_fd(number) }))
}

/// Takes over the descriptor of the program that this process was before. As for `take_memory`.
pub(crate) fn take_program(number: RawFd) -> io::Result<OwnedFd> {
    if !std::fs::metadata(format!("/proc/self/fd/{number}"))?.is_file() {
        return Err(io::Error::other(format!("descriptor {number} is no program")));
    }
    // SAFETY: as for `take_memory`.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
