//! How the health of a worker is asked for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A probe of each worker. A spec from an older build may lack some fields: they get the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct ProbeSpec {
    /// What is asked. `None`: nothing.
    pub ask: Option<ProbeAsk>,
    /// The statuses of HTTP that are a success.
    pub status: StatusRange,
    /// What the body of a successful answer must contain.
    pub body: Option<String>,
    /// From the end of one probe to the beginning of the next.
    pub period: Duration,
    /// How long the answer may take.
    pub timeout: Duration,
    /// How long the first probe of a worker waits.
    pub delay: Duration,
    /// Failures in a row after which the worker counts as failing.
    pub failures: u16,
    /// Successes in a row after which it counts as well again.
    pub successes: u16,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum ProbeAsk {
    /// GET of this path. `port`: that of the address of the worker; `None`: its first.
    Http { port: Option<u16>, path: String },
    /// A connection.
    Tcp { port: Option<u16> },
    /// A command that ends with exit code 0. Never empty.
    Command { command: Vec<String> },
}

/// Statuses of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct StatusRange {
    pub first: u16,
    /// Included.
    pub last: u16,
}

impl StatusRange {
    /// Whether the status is one of these.
    pub fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl Default for StatusRange {
    fn default() -> Self {
        Self { first: 200, last: 399 }
    }
}

impl Default for ProbeSpec {
    fn default() -> Self {
        Self {
            ask: None,
            status: StatusRange::default(),
            body: None,
            period: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            delay: Duration::ZERO,
            failures: 3,
            successes: 1,
        }
    }
}
