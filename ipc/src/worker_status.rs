//! One worker, as [`AppStatus`](crate::control::AppStatus) shows it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One worker, or a slot that has none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct WorkerStatus {
    /// Its id, which a primary never gives to another worker. `None`: the slot has no worker, or
    /// the primary is an older build.
    #[serde(default)]
    pub worker: Option<u64>,
    /// Its slot.
    pub slot: u16,
    /// Its pool.
    #[serde(default)]
    pub pool: Option<String>,
    /// Its process id, while it lives.
    pub pid: Option<u32>,
    /// Its generation.
    pub generation: u32,
    /// See [`WorkerState`].
    pub state: WorkerState,
    /// Why it is in that state, where there is more to say.
    #[serde(default)]
    pub reason: Option<String>,
    /// The contracts that it used.
    #[serde(default)]
    pub contract: Vec<Contract>,
    /// The text of its last STATUS=.
    #[serde(default)]
    pub status_text: Option<String>,
    /// Restarts of this slot.
    pub restarts: u64,
    /// How many workers of this slot were replaced because they reached a limit.
    #[serde(default)]
    pub recycles: u64,
    /// Milliseconds since it was started.
    pub uptime_ms: Option<u64>,
    /// Resident memory.
    #[serde(default)]
    pub rss_bytes: Option<u64>,
    /// CPU since the last look, 100 = one core.
    #[serde(default)]
    pub cpu_percent: Option<f32>,
    /// Connections it holds, as the kernel sees it.
    #[serde(default)]
    pub connections: Option<u32>,
    /// Connections it has accepted, where somebody counts them.
    #[serde(default)]
    pub accepted: Option<u64>,
    /// Connections waiting in its accept queues, and those handed to it that it has not taken.
    #[serde(default)]
    pub backlog: Option<u32>,
    /// Where it listens with TCP sockets that the supervisor did not lend.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_listeners: Vec<String>,
    /// How the last worker of this slot ended: `exit 1`, `signal SIGKILL`.
    #[serde(default)]
    pub last_exit: Option<String>,
    /// What its readiness probe says. `None`: there is no such probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Health>,
    /// What its liveness probe says. `None`: there is no such probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Health>,
    /// It holds the lease of the leader now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leader: bool,
    /// Milliseconds until the primary tries to start a worker in this empty slot. `None`: it does
    /// not, the slot is not empty, or the primary is an older build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try_ms: Option<u64>,
}

/// What a worker is doing, or what its slot waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum WorkerState {
    /// It was forked; its program does not run yet.
    Spawning,
    /// Its program runs and is not ready yet.
    Starting,
    /// It is ready.
    Ready,
    /// It gets no new connections and finishes what it has.
    Draining,
    /// It was told to stop, or is being killed.
    Killing,
    /// The slot has no worker and gets one.
    Waiting,
    /// The slot has no worker and gets none: the last ones failed too often.
    Errored,
    /// The slot has no worker and gets none, by request.
    Stopped,
    /// The primary does not answer, or its build knows states that this one does not.
    #[serde(other)]
    Unknown,
}

impl WorkerState {
    /// The word for it, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Spawning => "spawning",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Killing => "killing",
            Self::Waiting => "waiting",
            Self::Errored => "errored",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
        }
    }

    /// Whether a ready worker is to be expected of it without anybody's doing.
    pub fn is_coming(self) -> bool {
        match self {
            Self::Spawning | Self::Starting | Self::Waiting => true,
            Self::Ready
            | Self::Draining
            | Self::Killing
            | Self::Errored
            | Self::Stopped
            | Self::Unknown => false,
        }
    }
}

/// How a worker's program gets its sockets, or talks to the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum Contract {
    /// It inherited its sockets (LISTEN_FDS).
    Activation,
    /// Its `bind` was answered with a socket of the supervisor's.
    Intercept,
    /// It got the lease of the leader.
    Leader,
    /// It is on the bus.
    Native,
    /// It speaks Node's cluster protocol.
    Node,
    /// It spoke on NOTIFY_SOCKET.
    Notify,
    /// One of a later build.
    #[serde(other)]
    Unknown,
}

impl Contract {
    /// All that this build knows.
    pub const KNOWN: [Self; 6] =
        [Self::Activation, Self::Intercept, Self::Leader, Self::Native, Self::Node, Self::Notify];

    /// The word for it, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Activation => "activation",
            Self::Intercept => "intercept",
            Self::Leader => "leader",
            Self::Native => "native",
            Self::Node => "node",
            Self::Notify => "notify",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_are_those_of_json() {
        for state in [
            WorkerState::Spawning,
            WorkerState::Starting,
            WorkerState::Ready,
            WorkerState::Draining,
            WorkerState::Killing,
            WorkerState::Waiting,
            WorkerState::Errored,
            WorkerState::Stopped,
            WorkerState::Unknown,
        ] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.word());
        }
        for contract in Contract::KNOWN.into_iter().chain([Contract::Unknown]) {
            assert_eq!(serde_json::to_value(contract).unwrap(), contract.word());
        }
    }

    #[test]
    fn the_status_of_another_build_can_be_read() {
        let older = json!({"slot": 1, "pid": null, "generation": 1, "state": "hibernating",
            "contract": ["notify", "telepathy"], "restarts": 0, "uptime_ms": null});
        let status: WorkerStatus = serde_json::from_value(older).unwrap();
        assert_eq!((status.worker, status.state), (None, WorkerState::Unknown));
        assert_eq!(status.contract, [Contract::Notify, Contract::Unknown]);
    }
}

/// What a probe says of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct Health {
    /// What the results so far mean.
    pub verdict: HealthVerdict,
    /// Failures in a row.
    pub failures: u16,
    /// Why the last probe failed, or could not be made.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What the results of a probe mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum HealthVerdict {
    /// Too few results yet.
    Open,
    /// Enough successes in a row.
    Passes,
    /// Enough failures in a row.
    Fails,
    /// The probe cannot be made, or the verdict is one of a later build.
    #[serde(other)]
    Unknown,
}
