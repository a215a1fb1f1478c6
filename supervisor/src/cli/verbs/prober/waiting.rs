//! Waiting with a time limit, and how that limit is told.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};

use crate::sys::poll::poll;

/// Waits for a descriptor. Returns whether it is ready.
pub(super) fn wait(
    fd: BorrowedFd<'_>,
    flags: PollFlags,
    time: Option<Duration>,
) -> io::Result<bool> {
    Ok(poll(&mut [PollFd::new(fd, flags)], time)? > 0)
}

pub(super) fn span(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}
