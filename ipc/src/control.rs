//! The messages of the control socket: a command's request to an app's primary, and the replies.
//!
//! Both sides send one JSON object per line (see [`crate::lines`]), ignore unknown fields, and add
//! only optional fields, so that builds of different versions can talk. A connection carries one
//! request. The primary answers with any number of [`Reply::Notice`] lines and then exactly one
//! final line (everything that is not a notice). [`Request::Subscribe`] has no final line.

use config::change::SpecChange;
use config::spec::{AppSpec, Balance};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

pub use crate::pool::PoolStatus;
use crate::talk::{Answered, BusRequest, Metric};
pub use crate::worker_status::{Contract, WorkerState, WorkerStatus};

/// What a command asks of a primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum Request {
    /// The app's present status: [`Reply::Status`].
    Status,
    /// The spec that the primary holds, environment values included: [`Reply::Spec`].
    Spec,
    /// Answer when the app is up (`Done`) or has failed (`Failed`). `start` waits for this.
    WaitReady,
    /// Start the workers of a stopped or errored app again.
    Start,
    /// Stop the workers and keep the app.
    Stop {
        /// Skip draining.
        #[serde(default)]
        fast: bool,
    },
    /// Stop the workers and end the primary.
    Delete {
        /// Skip draining.
        #[serde(default)]
        fast: bool,
    },
    /// Make a new spec of the app's file, of the spec that stands and of a change, and bring it to
    /// the workers. The primary reads the file. Requests at once take effect one after the other.
    Configure {
        /// What changes. An empty change reads the file again.
        change: SpecChange,
        /// How the workers get the new spec.
        method: Method,
    },
    /// Replace all workers, as with `Reload`. Commands of this build send `Configure`.
    Restart {
        /// Stop all workers first, and start the new ones afterwards.
        #[serde(default)]
        hard: bool,
        /// The new spec, as with `Reload`.
        #[serde(default)]
        spec: Option<Box<AppSpec>>,
    },
    /// Replace all workers one by one without losing a connection; roll back on failure. Commands
    /// of this build send `Configure`.
    Reload {
        /// The new spec. Absent: use the same command, environment and options again.
        #[serde(default)]
        spec: Option<Box<AppSpec>>,
        /// Replace only this pool's workers, and take only its settings from the new spec.
        #[serde(default)]
        pool: Option<String>,
    },
    /// Replace the worker of one slot by another of the same spec, which is ready first; roll back
    /// on failure.
    ReplaceWorker {
        /// The slot.
        slot: u16,
    },
    /// Pause, resume or abort the rollout under way.
    Rollout {
        /// What becomes of it.
        command: RolloutCommand,
    },
    /// Switch back to the generation that stayed after [`Method::BlueGreen`].
    Rollback,
    /// Change the number of workers.
    Scale {
        /// The number of workers from now on; at least 1.
        wanted: u16,
        /// Which limit decided the number, as text for display.
        #[serde(default)]
        because: String,
        /// The pool to scale. Absent: the app's own workers.
        #[serde(default)]
        pool: Option<String>,
    },
    /// Send a signal to the main process of each worker, or of one worker.
    Signal {
        /// A Linux signal number.
        signal: i32,
        /// Signal this slot only.
        #[serde(default)]
        slot: Option<u16>,
    },
    /// Send a message to the Node workers (`process.on('message')`), or to one slot's worker.
    Send {
        /// Any JSON.
        message: serde_json::Value,
        /// Send to this slot only.
        #[serde(default)]
        slot: Option<u16>,
    },
    /// A request that concerns the bus.
    Bus(BusRequest),
    /// Have another build of the supervisor take over while the workers serve on.
    Upgrade {
        /// The path of the new program. Absent: the file that now has the running program's path.
        #[serde(default)]
        binary: Option<PathBuf>,
    },
    /// Close and reopen the log files, after another program rotated them.
    ReopenLogs,
    /// Send every notice from now on, until the connection ends.
    Subscribe,
}

/// The longest pause of a rollout that a primary takes.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The longest time for which a primary keeps the generation before, see [`Method::BlueGreen`].
pub const LONGEST_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What becomes of the rollout under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum RolloutCommand {
    /// Replace no further slot. The slot under way is finished. Answered at once.
    Pause {
        /// After this many milliseconds the rollout is rolled back, unless it was resumed.
        for_ms: u64,
    },
    /// Go on with the next slot. Answered at once.
    Resume,
    /// Go back to the generation that served before. Answered when it serves.
    Abort,
}

/// How the workers get a new spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum Method {
    /// Replace the workers one by one without losing a connection; roll back on failure.
    Rolling {
        /// Replace only this pool's workers, and take only its settings from the new spec.
        #[serde(default)]
        pool: Option<String>,
    },
    /// Start a whole new generation beside the old one, and switch when all of it is ready.
    BlueGreen {
        /// For how many milliseconds the old generation stays after the switch, for
        /// [`Request::Rollback`].
        #[serde(default)]
        keep_old_ms: u64,
    },
    /// Stop all workers first, and start the new ones afterwards.
    Hard,
    /// Replace no worker: give the workers the new shared values. Refused if anything else has
    /// changed.
    SharedValues,
    /// Replace no worker and start none: take over what no worker depends on, such as the number of
    /// workers as the file asks for it. Refused if the change needs a rolling replacement.
    Adopt,
}

/// What the primary answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum Reply {
    /// Something happened while the request is under way. Not final.
    Notice(Notice),
    /// Final: the request succeeded.
    #[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
    Done {
        /// One line for display.
        message: String,
        /// Connections with a request in flight that were cut on the way.
        #[serde(default, skip_serializing_if = "is_zero")]
        cut: u32,
    },
    /// Final: the request was refused or failed.
    #[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
    Failed {
        /// The kind of failure, which is also the command's exit code.
        kind: FailureKind,
        /// A lower-case sentence: what was tried, why it failed, what to do.
        reason: String,
        /// The last lines that the failing worker wrote to stderr, oldest first.
        #[serde(default)]
        last_lines: Vec<String>,
    },
    /// Final: the answer to [`Request::Status`].
    Status(Box<AppStatus>),
    /// Final: the answer to [`Request::Spec`].
    Spec(Box<AppSpec>),
    /// Final: the workers' answers to a trigger, by slot.
    #[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
    Answers {
        /// One answer for each worker that registered the action.
        answers: Vec<Answered>,
    },
    /// Final: the measured series.
    #[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
    Metrics {
        /// The series, sorted by name. Those of a kind that this build does not know are left out.
        #[serde(deserialize_with = "known_metrics")]
        metrics: Vec<Metric>,
        /// How many series did not fit into the answer.
        #[serde(default)]
        left_out: usize,
    },
}

/// Passes over what this build cannot read.
fn known_metrics<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Metric>, D::Error> {
    let all = Vec::<serde_json::Value>::deserialize(from)?;
    Ok(all.into_iter().filter_map(|one| serde_json::from_value(one).ok()).collect())
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Why a request did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum FailureKind {
    /// The request failed. Exit code 1.
    Failed,
    /// The request makes no sense. Exit code 2.
    Usage,
    /// A reload failed and everything is as before. Exit code 4.
    RolledBack,
    /// The request took too long. Exit code 5.
    TimedOut,
    /// This user may not make the request. Exit code 6.
    NotPermitted,
    /// There is no room for another client now; the request was not read. Exit code 5, if it stays
    /// so.
    Busy,
    /// The app has ended; the request was not carried out. Exit code 1.
    Ended,
    /// One of a later build. Exit code 1.
    #[serde(other)]
    Unknown,
}

/// An event, for display and for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct Notice {
    /// Milliseconds since 1970. The runtime fills this in before it sends the notice.
    #[serde(default)]
    pub unix_ms: u64,
    /// The kind of event.
    pub event: NoticeKind,
    /// The slot, if the event concerns one worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u16>,
    /// The worker, if the event concerns one. A primary never uses a number twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<u64>,
    /// The worker's process id. The runtime fills this in before it sends the notice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The worker's generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// The exit code of a worker that failed because its program ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// A lower-case sentence for display.
    pub message: String,
    /// The last lines of stderr, where a worker failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
}

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum NoticeKind {
    /// A worker's program was started.
    WorkerStarted,
    /// A worker is ready and gets connections (unless it is a canary still being watched).
    WorkerReady,
    /// A worker no longer gets new connections.
    WorkerDraining,
    /// The primary sent a worker the stop signal.
    WorkerStopping,
    /// A worker ended because the primary stopped it.
    WorkerStopped,
    /// A worker died by itself or could not be started.
    WorkerFailed,
    /// The primary gave a slot up; only a command starts it again.
    SlotErrored,
    /// The app serves a new address.
    ListenerOpened,
    /// The app no longer serves an address.
    ListenerClosed,
    /// A worker asked for an address and did not get it.
    BindRefused,
    /// A reload began.
    ReloadStarted,
    /// A worker that is well is being replaced, because it reached a limit.
    WorkerRecycled,
    /// A worker gets no new connections until its readiness passes again.
    WorkerWithdrawn,
    /// A worker whose readiness had failed gets new connections again.
    WorkerReturned,
    /// The new generation serves one slot, or the successor of a recycled worker does.
    SlotReplaced,
    /// A rollout waits before its next slot.
    ReloadPaused,
    /// A rollout goes on.
    ReloadResumed,
    /// The new generation serves all slots.
    ReloadDone,
    /// A reload failed, and everything is as before.
    ReloadRolledBack,
    /// A schedule says that all workers are to be replaced.
    ScheduleDue,
    /// Watched files have changed, and all workers are to be replaced.
    FilesChanged,
    /// The number of workers was changed.
    Scaled,
    /// A Node worker sent something with `process.send`; the message is its JSON.
    WorkerMessage,
    /// Another build of the supervisor took over.
    Upgraded,
    /// The app's status changed.
    AppStatus,
    /// Something that the operator should know.
    Warning,
}

/// One app, as `list --json` shows it. Field names are stable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct AppStatus {
    /// The app's name.
    pub name: String,
    /// The group of apps that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// See [`Status`].
    pub status: Status,
    /// Why the status is not `ready`.
    #[serde(default)]
    pub reason: Option<String>,
    /// The primary's process id.
    pub primary_pid: u32,
    /// The keeper's process id, where there is one.
    pub keeper_pid: Option<u32>,
    /// How many primaries died and were replaced since the app was started.
    #[serde(default)]
    pub primary_deaths: u32,
    /// The version of the binary that the primary runs.
    pub version: String,
    /// The generation that serves, or that a rollout is bringing up.
    pub generation: u32,
    /// The configured balance.
    pub balance: BalanceStatus,
    /// The engine in use: `kernel` or `primary`.
    pub engine: String,
    /// Notes for the operator, such as a balance that could not be had and how to get it.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Whether all workers have done their work, and ended: a job, not a server.
    #[serde(default)]
    pub done: bool,
    /// The command line.
    pub command: Vec<String>,
    /// The folder that workers start in.
    pub cwd: String,
    /// The configuration file that the app came from.
    #[serde(default)]
    pub source: Option<String>,
    /// The paths of the log files: out, err.
    #[serde(default)]
    pub logs: Vec<String>,
    /// The addresses that the app serves.
    pub listeners: Vec<ListenerStatus>,
    /// How many workers are wanted, in all pools together.
    pub wanted: u16,
    /// Which limit decided `wanted`, as text for display.
    pub wanted_because: String,
    /// How many workers are ready.
    pub ready: u16,
    /// Restarts of all slots since the app was started.
    pub restarts: u64,
    /// How many workers were replaced because they reached a limit, since the app was started.
    #[serde(default)]
    pub recycles: u64,
    /// Milliseconds since the primary started.
    pub uptime_ms: u64,
    /// How the last reload ended.
    #[serde(default)]
    pub last_reload: Option<String>,
    /// The rollout under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// When `cron_restart` is due next; milliseconds since 1970.
    #[serde(default)]
    pub next_restart_unix_ms: Option<u64>,
    /// How the app's files are watched, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchStatus>,
    /// The workers by slot; a slot without a worker has an entry whose `pid` is null.
    pub workers: Vec<WorkerStatus>,
    /// The app's pools, its own first. Empty if the primary's build knows no pools.
    #[serde(default)]
    pub pools: Vec<PoolStatus>,
}

/// A rollout under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct RolloutStatus {
    /// The generation that it brings in.
    pub generation: u32,
    /// How many slots that generation has taken over.
    pub replaced: u32,
    /// How many slots the rollout is about.
    pub slots: u32,
    /// Whether it goes back to the generation that served before.
    #[serde(default)]
    pub going_back: bool,
    /// It is paused, and is rolled back after this many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_for_ms: Option<u64>,
}

/// How the files of an app are watched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct WatchStatus {
    /// The number of folders that are watched. `None`: the watch has not begun yet.
    #[serde(default)]
    pub folders: Option<u32>,
    /// Why not all files are watched.
    #[serde(default)]
    pub problem: Option<String>,
}

/// What an app is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum Status {
    /// No worker has been ready yet.
    Starting,
    /// Every wanted worker is ready.
    Ready,
    /// Some wanted workers are not ready.
    Degraded,
    /// A reload is under way.
    Reloading,
    /// The workers are being stopped.
    Stopping,
    /// Stopped by request.
    Stopped,
    /// The primary gave up; `reason` says why.
    Errored,
    /// The primary runs and does not answer; its workers may still serve.
    Unresponsive,
    /// The primary is gone; its workers may still serve.
    Lost,
    /// One of a later build.
    #[serde(other)]
    Unknown,
}

/// A balance in a status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum BalanceStatus {
    /// One that this build knows.
    Known(Balance),
    /// The word of a later build.
    Other(String),
}

/// One address of an app.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct ListenerStatus {
    /// `0.0.0.0:8000`, `[::]:8000`, `unix:/run/x.sock`.
    pub address: String,
    /// The listener's name, if it is configured.
    #[serde(default)]
    pub name: Option<String>,
    /// Whether the configuration names the address (otherwise a worker asked for it).
    pub configured: bool,
    /// How many slot sockets exist.
    pub sockets: u32,
    /// The slots that get new connections now.
    pub slots: Vec<u16>,
    /// How many connections wait in the accept queues of all its sockets.
    pub backlog: u32,
    /// The engine that carries the balance out: `kernel` or `primary`.
    #[serde(default)]
    pub engine: String,
    /// The balance in effect, which differs from the app's where that one is not available.
    #[serde(default)]
    pub balance: Option<BalanceStatus>,
    /// Why this engine and this balance are in use.
    #[serde(default)]
    pub why: String,
    /// Each slot's share of the new connections. Empty for one shared socket, which is not steered.
    #[serde(default)]
    pub shares: Vec<ShareStatus>,
}

/// One slot's share of a listener's new connections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct ShareStatus {
    /// The slot.
    pub slot: u16,
    /// The share of new connections in percent; with `sticky`, the share of client addresses.
    pub percent: f32,
    /// Connections given to the slot, where that is counted: in the primary engine since the
    /// listener exists, in the kernel engine since the slot's present socket exists.
    #[serde(default)]
    pub given: Option<u64>,
    /// How many connections wait in the slot's accept queues.
    pub backlog: u32,
}
