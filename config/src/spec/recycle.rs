//! When a worker that is well is replaced all the same.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When a worker that is well is replaced. A spec from an older build may lack some fields: they
/// get the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct RecyclePolicy {
    /// Bytes of resident memory (RSS), that of its child processes included. Zero: no limit.
    pub max_memory: u64,
    /// How long it may be ready. Zero: no limit.
    pub max_age: Duration,
    /// How many connections it may have accepted. Zero: no limit.
    pub max_connections: u64,
    /// By how much each worker's own limits may be lower, in percent; at most
    /// [`Self::MOST_JITTER`].
    pub jitter: u8,
    /// The most replacements that may begin within a minute.
    pub budget: u16,
}

impl RecyclePolicy {
    /// The largest jitter, in percent.
    pub const MOST_JITTER: u8 = 90;

    /// Whether there is any limit.
    pub fn is_set(&self) -> bool {
        self.max_memory > 0 || !self.max_age.is_zero() || self.max_connections > 0
    }
}

impl Default for RecyclePolicy {
    fn default() -> Self {
        Self { max_memory: 0, max_age: Duration::ZERO, max_connections: 0, jitter: 10, budget: 30 }
    }
}
