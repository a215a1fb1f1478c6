//! Waiting for a few descriptors with a time limit, outside the loop.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

/// Waits until a source is ready, or `timeout` has passed; without one, it waits for as long as it
/// takes. Returns how many sources are ready. A signal ends the wait early: then none is.
pub(crate) fn poll(sources: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<usize> {
    match ppoll(sources, timeout.map(time_spec), None) {
        Ok(count) => Ok(usize::try_from(count).unwrap_or(0)),
        Err(Errno::EINTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Waits for one source. `false`: the time is over, or a signal came.
pub(crate) fn ready(
    source: BorrowedFd<'_>,
    events: PollFlags,
    timeout: Option<Duration>,
) -> io::Result<bool> {
    Ok(poll(&mut [PollFd::new(source, events)], timeout)? > 0)
}

fn time_spec(span: Duration) -> TimeSpec {
    let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    TimeSpec::new(seconds, span.subsec_nanos().into())
}
