//! A worker's life: when it counts as ready, how long each step may take, what follows its death.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ExitCodes;

/// When a worker counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum ReadyRule {
    /// It listens on every address that its predecessor served. Without a predecessor: at its first
    /// `listen`, or when it has not listened for `listen_wait` (the primary then takes it for a
    /// program that serves nothing) or, if it inherited its sockets, after `min_uptime`.
    Auto,
    /// Like `Auto`, but a worker that never listens has failed.
    Listen,
    /// It sends READY=1 to NOTIFY_SOCKET.
    Notify,
    /// It has lived for `min_uptime`.
    Uptime,
}

/// Whether the program finishes its requests after its stop signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum Graceful {
    /// Where it is seen to handle the signal.
    #[default]
    Auto,
    /// It does.
    #[serde(rename = "true")]
    Always,
    /// It does not.
    #[serde(rename = "false")]
    Never,
}

/// The durations of a worker's life. A spec from an older build may lack some, which get their
/// default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct Times {
    /// From exec to ready; a worker that takes longer has failed.
    pub ready_timeout: Duration,
    /// How long a first worker may take to listen before it counts as one that never does.
    pub listen_wait: Duration,
    /// How long the first new worker of a reload (the canary) must live after it is ready before
    /// it gets connections, at least.
    pub min_uptime: Duration,
    /// How long after the canary is ready a reload can still be rolled back because a new worker
    /// dies. The reload ends no earlier.
    pub observe: Duration,
    /// From the stop signal to SIGKILL.
    pub kill_timeout: Duration,
    /// How long a worker that gets no new connections may keep its old ones.
    pub drain_timeout: Duration,
    /// How long a connection must be quiet, the worker having spoken last, to count as idle.
    pub drain_idle: Duration,
    /// How long a draining worker's connections must stay busy before a program that finishes its
    /// requests gets its stop signal.
    pub drain_patience: Duration,
    /// How long the clients of a dead slot wait for its next worker, with `balance = sticky`.
    pub sticky_wait: Duration,
    /// How long connections may wait for a worker that accepts none before it counts as hung and is
    /// killed. Zero: for ever.
    pub hang_timeout: Duration,
    /// For how long memory must only have grown before a leak is suspected. Zero: never.
    pub leak_window: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            ready_timeout: Duration::from_secs(30),
            listen_wait: Duration::from_secs(5),
            min_uptime: Duration::from_secs(1),
            observe: Duration::from_secs(3),
            kill_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            drain_idle: Duration::from_secs(2),
            drain_patience: Duration::from_secs(2),
            sticky_wait: Duration::from_secs(5),
            hang_timeout: Duration::ZERO,
            leak_window: Duration::from_secs(600),
        }
    }
}

/// What happens when a worker dies by itself. A spec from an older build may lack some fields: they
/// get the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct RestartPolicy {
    /// Which exits of a worker are followed by a restart.
    pub on: RestartOn,
    /// Exit codes that no restart follows, whatever `on` says. None.
    pub stop_exit_codes: ExitCodes,
    /// Failures in a row after which a slot that was never ready has failed too often.
    pub start_retries: u16,
    /// Failures within `window` after which a slot that has been ready has failed too often.
    pub max_restarts: u16,
    /// A slot that has failed too often stays without a worker. Otherwise the primary tries again
    /// after `backoff_max`, again and again.
    pub give_up: bool,
    /// The window of `max_restarts`.
    pub window: Duration,
    /// The first delay; it doubles with each failure. The first restart after `backoff_reset` of
    /// health is immediate.
    pub backoff_min: Duration,
    /// The longest delay.
    pub backoff_max: Duration,
    /// How long a worker must be ready before the delay starts at `backoff_min` again.
    pub backoff_reset: Duration,
}

/// Which exits of a worker are followed by a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum RestartOn {
    /// Every one.
    Always,
    /// Those with an exit code other than 0, or by a signal.
    // Older builds know only `failure` on the wire, and both ends of a control socket may be one.
    #[serde(alias = "on-failure")]
    Failure,
    /// None.
    Never,
}

impl RestartPolicy {
    /// Whether a worker that ends by itself with this exit code has done its work, so that no other
    /// one follows.
    pub fn is_done(&self, code: i32) -> bool {
        self.stop_exit_codes.contains(code) || (code == 0 && self.on != RestartOn::Always)
    }

    /// Whether a worker may ever have done its work.
    pub fn has_end(&self) -> bool {
        self.on != RestartOn::Always || !self.stop_exit_codes.is_empty()
    }
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            on: RestartOn::Always,
            stop_exit_codes: ExitCodes::default(),
            start_retries: 3,
            max_restarts: 10,
            give_up: false,
            window: Duration::from_secs(60),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(15),
            backoff_reset: Duration::from_secs(30),
        }
    }
}
