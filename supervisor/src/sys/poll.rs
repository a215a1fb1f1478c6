//! Waiting for a few descriptors with a time limit, outside the loop.

use std::io;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, ppoll};
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

fn time_spec(span: Duration) -> TimeSpec {
    let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    TimeSpec::new(seconds, span.subsec_nanos().into())
}
