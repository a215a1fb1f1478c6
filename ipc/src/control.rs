//! The control socket's words: what a command asks of an app's primary, and what it answers.
//!
//! One JSON object a line, both ways (see [`crate::lines`]). A connection carries one request; the
//! primary answers with any number of [`Reply::Notice`] lines and then exactly one final line
//! (everything that is not a notice), unless the request is [`Request::Subscribe`], which has no
//! final line. Unknown fields are ignored by both ends and new fields are optional, so that a newer command can talk
//! to a primary that was started by an older binary, and the other way round.

use config::spec::{AppSpec, Balance};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use crate::pool::PoolStatus;
use crate::talk::{Answered, BusRequest, Metric};
pub use crate::worker_status::{Contract, WorkerState, WorkerStatus};

/// What a command asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// The app's present state: [`Reply::Status`].
    Status,
    /// The spec as the primary holds it, environment values included: [`Reply::Spec`].
    Spec,
    /// Answer when the app is up (done) or has failed (failed). What `start` waits for.
    WaitReady,
    /// Start the workers of a stopped or errored app again.
    Start,
    /// Stop the workers; keep the app. `fast`: without draining.
    Stop {
        /// Skip draining.
        #[serde(default)]
        fast: bool,
    },
    /// Stop the workers and end the primary. `fast`: without draining.
    Delete {
        /// Skip draining.
        #[serde(default)]
        fast: bool,
    },
    /// Replace all workers. `hard`: stop them all first, then start; else like `Reload`.
    Restart {
        /// Stop first, start afterwards.
        #[serde(default)]
        hard: bool,
        /// As with `Reload`.
        #[serde(default)]
        spec: Option<Box<AppSpec>>,
    },
    /// Replace all workers, one by one, without losing a connection; roll back on failure.
    Reload {
        /// The new spec; absent: the same command, environment and options again.
        #[serde(default)]
        spec: Option<Box<AppSpec>>,
        /// The workers of this pool alone, and of the new spec what describes it.
        #[serde(default)]
        pool: Option<String>,
    },
    /// Change the number of workers.
    Scale {
        /// So many workers from now on; at least 1.
        wanted: u16,
        /// Which limit decided, for people.
        #[serde(default)]
        because: String,
        /// Of this pool; absent: of the app's own.
        #[serde(default)]
        pool: Option<String>,
    },
    /// Send a signal to the main process of each worker, or of one.
    Signal {
        /// A Linux signal number.
        signal: i32,
        /// Only this slot.
        #[serde(default)]
        slot: Option<u16>,
    },
    /// Give a message to the Node workers (`process.on('message')`), or to one slot's.
    Send {
        /// Anything.
        message: serde_json::Value,
        /// Only this slot.
        #[serde(default)]
        slot: Option<u16>,
    },
    /// Something about the bus.
    Bus(BusRequest),
    /// Have another build of the supervisor take over while the workers serve on.
    Upgrade {
        /// Its program; absent: what is now where the present one was.
        #[serde(default)]
        binary: Option<PathBuf>,
    },
    /// Close and open the log files again (after a rotation by somebody else).
    ReopenLogs,
    /// Every notice from now on, until the connection ends.
    Subscribe,
}

/// What the primary says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// Something happened meanwhile. Not final.
    Notice(Notice),
    /// Final: it is done.
    Done {
        /// One line for people.
        message: String,
    },
    /// Final: it was refused or it failed.
    Failed {
        /// What kind, which is also the command's exit code.
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
    /// Final: what the workers said to a trigger, by slot.
    Answers {
        /// One for each worker that registered the action.
        answers: Vec<Answered>,
    },
    /// Final: what was measured.
    Metrics {
        /// In order of their names.
        metrics: Vec<Metric>,
        /// So many did not fit into the answer.
        #[serde(default)]
        left_out: usize,
    },
}

/// Why a request did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// It failed. Exit code 1.
    Failed,
    /// The request makes no sense. Exit code 2.
    Usage,
    /// A reload failed and everything is as before. Exit code 4.
    RolledBack,
    /// It took too long. Exit code 5.
    TimedOut,
    /// This user may not. Exit code 6.
    NotPermitted,
}

/// Something that happened, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Milliseconds since 1970. Filled in where it leaves the core.
    #[serde(default)]
    pub unix_ms: u64,
    /// What.
    pub event: NoticeKind,
    /// Whose slot, if one worker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u16>,
    /// Which worker (never reused within a primary).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<u64>,
    /// Its process id. Filled in where it leaves the core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// A lower-case sentence for people.
    pub message: String,
    /// The last lines on stderr, where a worker failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
}

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// A worker's program runs.
    WorkerStarted,
    /// A worker is ready and gets connections (unless it is a canary still being watched).
    WorkerReady,
    /// A worker gets no new connections any more.
    WorkerDraining,
    /// A worker was told to stop.
    WorkerStopping,
    /// A worker is gone because it was told to.
    WorkerStopped,
    /// A worker died by itself, or could not be started.
    WorkerFailed,
    /// A slot is given up until somebody restarts it.
    SlotErrored,
    /// The app serves a new address.
    ListenerOpened,
    /// An address is no longer served.
    ListenerClosed,
    /// A worker asked for an address and did not get it.
    BindRefused,
    /// A reload began.
    ReloadStarted,
    /// One slot is served by the new generation.
    SlotReplaced,
    /// All slots are served by the new generation.
    ReloadDone,
    /// The reload failed and everything is as before.
    ReloadRolledBack,
    /// The number of workers was changed.
    Scaled,
    /// A Node worker said something by `process.send`; the message is its JSON.
    WorkerMessage,
    /// Another build of the supervisor took over.
    Upgraded,
    /// The app's status changed.
    AppStatus,
    /// Something a person should know.
    Warning,
}

/// One app, as `list --json` shows it. Field names are stable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppStatus {
    /// The app's name.
    pub name: String,
    /// See [`Status`].
    pub status: Status,
    /// Why it is so, when it is not simply `ready`.
    #[serde(default)]
    pub reason: Option<String>,
    /// The primary's process id.
    pub primary_pid: u32,
    /// The keeper's process id, where there is one.
    pub keeper_pid: Option<u32>,
    /// So many primaries died and were replaced since the app was started.
    #[serde(default)]
    pub primary_deaths: u32,
    /// The version of the binary that the primary runs.
    pub version: String,
    /// The generation that serves, or shall serve.
    pub generation: u32,
    /// The balance asked for.
    pub balance: Balance,
    /// The engine in use: `kernel` or `primary`.
    pub engine: String,
    /// What a person should know about balance and engine (a fallback and its cure).
    #[serde(default)]
    pub notes: Vec<String>,
    /// The command line.
    pub command: Vec<String>,
    /// The folder workers start in.
    pub cwd: String,
    /// The file the app came from.
    #[serde(default)]
    pub source: Option<String>,
    /// Where the logs are: out, err.
    #[serde(default)]
    pub logs: Vec<String>,
    /// The addresses.
    pub listeners: Vec<ListenerStatus>,
    /// So many workers are wanted, in all pools together.
    pub wanted: u16,
    /// Which limit decided `wanted`.
    pub wanted_because: String,
    /// So many are ready.
    pub ready: u16,
    /// Restarts of all slots since the app was started.
    pub restarts: u64,
    /// Milliseconds since the primary started.
    pub uptime_ms: u64,
    /// How the last reload ended.
    #[serde(default)]
    pub last_reload: Option<String>,
    /// The workers that exist, by slot; a slot without one has an entry with `pid` null.
    pub workers: Vec<WorkerStatus>,
    /// Its groups of workers, its own first. Empty: its primary knows of no pools.
    #[serde(default)]
    pub pools: Vec<PoolStatus>,
}

/// What an app is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
    /// Given up; says why.
    Errored,
    /// The primary is gone, its workers may still serve.
    Lost,
}

/// One address of an app.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// `0.0.0.0:8000`, `[::]:8000`, `unix:/run/x.sock`.
    pub address: String,
    /// Its name, where configured.
    #[serde(default)]
    pub name: Option<String>,
    /// Whether it came from the configuration (else a worker asked for it).
    pub configured: bool,
    /// Slot sockets that exist.
    pub sockets: u32,
    /// Slots that get new connections now.
    pub slots: Vec<u16>,
    /// Connections waiting in the accept queues of all its sockets.
    pub backlog: u32,
    /// What carries its balance out: `kernel` or `primary`.
    #[serde(default)]
    pub engine: String,
    /// The balance in effect, which is another than the app's where that cannot be had.
    #[serde(default)]
    pub balance: Option<Balance>,
    /// Why this engine and this balance.
    #[serde(default)]
    pub why: String,
    /// What each slot gets of its new connections. Empty where nobody steers (one shared socket).
    #[serde(default)]
    pub shares: Vec<ShareStatus>,
}

/// What one slot gets of a listener's new connections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShareStatus {
    /// The slot.
    pub slot: u16,
    /// Its share of the new connections in percent; with `sticky`, of the client addresses.
    pub percent: f32,
    /// Connections given to it, where somebody counts them: in the primary engine since the
    /// listener exists, in the kernel engine to the socket that it has now, since that exists.
    #[serde(default)]
    pub given: Option<u64>,
    /// Connections waiting in its accept queues.
    pub backlog: u32,
}
