//! The time of a run, in milliseconds since it began.

use std::time::Instant;

/// The clock of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    /// A run begins.
    pub(super) fn begin() -> Self {
        Self(Instant::now())
    }

    /// Milliseconds since the run began.
    pub(super) fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
