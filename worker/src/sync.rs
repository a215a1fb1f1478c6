//! Locking that ignores poisoning.
//!
//! Handlers of the program run under `contain::contained`, so a panic never leaves the client's
//! own data half changed. A poisoned lock is therefore as good as any other.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks the mutex, even if a thread panicked while it held the lock.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
