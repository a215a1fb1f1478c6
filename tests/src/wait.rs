//! Polls and pauses. No other file of the tests sleeps. Everything here has a time limit.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::{Duration, Instant};

/// The pause between two looks.
const STEP: Duration = Duration::from_millis(5);

/// Looks until `look` returns something. Panics after `limit`, and says what did not come.
pub fn wait_until<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
    try_until(limit, look)
        .unwrap_or_else(|| panic!("waited {limit:?} for {what}, which did not come"))
}

/// Looks until `look` returns something. `None` after `limit`.
pub fn try_until<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        // There is one look after the limit: being scheduled late is no failure.
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

/// Repeats a read that was interrupted. A read with a time limit is interrupted when the process is
/// stopped for a moment (a debugger, a frozen container), even without signal handlers (signal(7)).
pub fn uninterrupted<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match read() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Sleeps for a span that the test itself is about, such as CPU time over one second. To wait for
/// an event, use the functions above.
pub fn let_pass(span: Duration) {
    thread::sleep(span);
}
