//! One heavy test at a time, over all test processes of this user.

use std::fs::{File, OpenOptions, TryLockError};
use std::time::Duration;

use crate::stage;
use crate::wait::wait_until;

/// How long the other heavy tests together may take.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// Held while a heavy test runs.
#[derive(Debug)]
#[must_use = "the lock is given back when this is dropped"]
pub struct Alone {
    _lock: File,
}

/// Waits until no other heavy test runs.
pub fn alone() -> Alone {
    let path = stage::root().join("alone.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .unwrap_or_else(|e| panic!("open {}: {e}", path.display()));
    wait_until("the other heavy tests to end", LIMIT, || match file.try_lock() {
        Ok(()) => Some(()),
        Err(TryLockError::WouldBlock) => None,
        Err(TryLockError::Error(e)) => panic!("lock {}: {e}", path.display()),
    });
    Alone { _lock: file }
}
