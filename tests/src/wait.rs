//! Waiting: the only place of the tests that sleeps. Everything here has a limit.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at something that sends no event.
const STEP: Duration = Duration::from_millis(5);

/// Looks until `look` gives something; panics after `limit`, saying what it waited for.
pub fn wait_until<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
    try_until(limit, look).unwrap_or_else(|| panic!("waited {limit:?} in vain for {what}"))
}

/// Looks until `look` gives something, or `limit` is over.
pub fn try_until<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        // One more look after the limit: a machine that was busy elsewhere is not a failure.
        let late = Instant::now() >= end;
        if let Some(seen) = look() {
            return Some(seen);
        }
        if late {
            return None;
        }
        thread::sleep(STEP);
    }
}

/// Reads again where that was interrupted: with a time limit a read is, when the process was stopped
/// for a moment (a debugger, a frozen container), whether it has signal handlers or not (signal(7)).
pub fn uninterrupted<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match read() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Lets a span pass, where the span itself is what is measured or demanded (CPU over one second,
/// load for three).
pub fn let_pass(span: Duration) {
    thread::sleep(span);
}
