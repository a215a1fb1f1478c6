//! Waits with a time limit, for a descriptor or for time to pass.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::PollFlags;

use crate::sys::poll::{poll, ready};

/// Waits until `fd` is readable or its other end is closed. Returns false if `timeout` passed, or a
/// signal interrupted the wait.
pub(crate) fn wait_readable(fd: impl AsFd, timeout: Duration) -> io::Result<bool> {
    ready(fd.as_fd(), PollFlags::POLLIN, Some(timeout))
}

/// Sleeps for `span`, or until a signal arrives: every caller checks its condition again.
pub(crate) fn pause(span: Duration) {
    // Without descriptors, only a lack of memory makes it fail.
    let _ = poll(&mut [], Some(span));
}
