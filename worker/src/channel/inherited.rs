//! The channel to the supervisor that this process inherited.
//!
//! Refuses a descriptor that is not a Unix stream socket, and a second join in one process.

use std::env;
use std::io::{self, ErrorKind};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::descriptor;

/// Whether this process has taken the channel. A descriptor must have one owner only.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the channel that this process inherited. `None` without a supervisor.
pub(crate) fn inherited() -> io::Result<Option<UnixStream>> {
    let Ok(number) = env::var("SUPERVISOR_CHANNEL_FD") else { return Ok(None) };
    let wrong = |why: &str| {
        let reason = format!("SUPERVISOR_CHANNEL_FD={number}: {why}");
        io::Error::new(ErrorKind::InvalidData, reason)
    };
    let fd: i32 = number.parse().map_err(|_| wrong("not a number"))?;
    if !descriptor::is_open(fd, "socket:") {
        return Err(wrong("not an open socket (did a parent process close the channel?)"));
    }
    if TAKEN.swap(true, Ordering::SeqCst) {
        let reason = "this process has joined already: clone that Worker";
        return Err(io::Error::new(ErrorKind::AlreadyExists, reason));
    }
    let socket = owned(fd);
    let is_ours = sockopt::socket_domain(&socket).is_ok_and(|d| d == AddressFamily::UNIX)
        && sockopt::socket_type(&socket).is_ok_and(|kind| kind == SocketType::STREAM);
    if !is_ours {
        std::mem::forget(socket);
        return Err(wrong("not a Unix stream socket"));
    }
    // A program that this one starts must not keep the channel open.
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(Some(stream))
}

#[expect(unsafe_code, reason = "an inherited descriptor is a bare number")]
fn owned(number: i32) -> OwnedFd {
    // SAFETY: /proc has just shown that the descriptor is an open socket. The supervisor left it
    // for this process to own, and `TAKEN` allows one owner only.
    unsafe { OwnedFd::from_raw_fd(number) }
}
