//! All events that the core can receive.

use std::time::Duration;

use config::spec::AppSpec;
use ipc::control::{FailureKind, Request};
use serde::{Deserialize, Serialize};

use crate::base::exit::Exit;
use crate::base::ids::{ClientId, ListenerId, MergeId, SocketId, Ticket, WorkerId};
use crate::base::on_stop::OnStop;
use crate::base::own_sockets::OwnSockets;
pub(crate) use crate::base::probe_kind::ProbeKind;

/// An event of the core.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// The first event of all.
    Begin,
    /// Deadlines may be due. Comes after the other events of each turn of the loop.
    Turn,
    /// A control connection asks. Each request gets exactly one final answer.
    Request { client: ClientId, request: Request },
    /// A control connection ended. The core sends it nothing more.
    ClientGone { client: ClientId },
    /// A signal to the primary.
    Signal(PrimarySignal),
    /// The answer to `Action::OpenListeners`: all of them are open, or none more than before.
    /// A fatal error text is a lower-case sentence.
    ListenersOpened { result: Result<Vec<OpenedListener>, String> },
    /// The answer to `Action::Merge`. `None`: nothing changes.
    Merged { merge: MergeId, result: Result<Option<Box<AppSpec>>, Refusal> },
    /// What the calendar says of `cron_restart`: what is planned from now on (`None`: nothing), and
    /// whether a replacement of all workers is due now.
    Schedule { planned: Option<Scheduled>, is_due: bool },
    /// Watched files have changed, and all workers are to be replaced.
    FilesChanged {
        /// The names of some of them.
        named: Vec<String>,
        /// How many there are beside these.
        more: u32,
    },
    /// The load asks for another number of workers of the app's own pool.
    LoadAsks { to: u16, because: String },
    /// A worker's `bind` made a new address known. Comes before the `Cue::BindAsked` for it.
    ListenerFound(OpenedListener),
    /// An event about one worker. The core ignores cues for a worker that is gone.
    Worker { worker: WorkerId, cue: Cue },
}

/// A listener that exists now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenedListener {
    pub(crate) id: ListenerId,
    /// The address as people write it: `127.0.0.1:8000`, `unix:/run/x.sock`.
    pub(crate) address: String,
    /// The name in the configuration, if the listener comes from there.
    pub(crate) name: Option<String>,
    /// All workers share one socket (unix sockets, `balance = shared`). The core always lends them
    /// socket 0 and never steers.
    pub(crate) shared: bool,
}

/// What is planned by the calendar, which the core does not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scheduled {
    /// The pattern.
    pub(crate) cron: String,
    pub(crate) zone: Option<String>,
    /// When it is due next; milliseconds since 1970.
    pub(crate) next: Option<u64>,
}

/// Why a change has no new spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) kind: FailureKind,
    /// A lower-case sentence, or the report of the faults in a file.
    pub(crate) reason: String,
}

/// What a signal to the primary means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PrimarySignal {
    /// TERM, INT: stop gracefully and exit; a second one: fast.
    Stop,
    /// QUIT: stop fast and exit.
    StopFast,
    /// HUP: reload.
    Reload,
    /// USR1: open the log files again.
    ReopenLogs,
    /// TTIN: one worker more.
    More,
    /// TTOU: one worker fewer.
    Fewer,
}

/// An event about one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cue {
    /// Its program runs (exec succeeded).
    Spawned,
    /// Its program could not be started; there is no process. `permanent`: trying again cannot
    /// help (no such command, no such user, no such folder). No `Exited` follows.
    SpawnFailed { reason: String, permanent: bool },
    /// It asks for an address; answer with `Action::Lend`. `another`: it still has an open socket
    /// of this listener and wants a further one (it set SO_REUSEPORT itself).
    BindAsked { listener: ListenerId, ticket: Ticket, another: bool },
    /// It asked for an address that it cannot have; it has got the real errno already.
    BindRefused { address: String, reason: String },
    /// It listens on a socket it was lent; the socket is in the kernel's group from now on.
    Listening { listener: ListenerId, socket: SocketId },
    /// It listens on a unix socket that it made itself at this path, which is absolute.
    ListensOnUnix { path: String },
    /// The TCP sockets of its own on which it listens now, as a look showed them.
    OwnSockets(OwnSockets),
    /// It has closed a socket it listened on, and lives on.
    Closed { listener: ListenerId, socket: SocketId },
    /// It says that it leaves of its own accord. `Exited` follows.
    Leaving,
    /// It did not apply the values that it shares with the others of its generation.
    RefusesValues { reason: String },
    /// It sent a message to NOTIFY_SOCKET.
    Notified(Notification),
    /// It and its whole process group are gone.
    Exited { exit: Exit, last_lines: Vec<String>, queued: u32 },
    /// The answer to `Action::Look`.
    Looked(Look),
    /// The answer to `Action::Gauge`.
    Gauged(Gauge),
    /// What it uses; told about workers that have limits ([`Primary::limits_of`]).
    ///
    /// [`Primary::limits_of`]: super::Primary::limits_of
    Used(Used),
    /// The result of a probe that [`Primary::probes_of`] asks for.
    ///
    /// [`Primary::probes_of`]: super::Primary::probes_of
    Probed { probe: ProbeKind, result: ProbeResult },
    /// The kernel killed a process of it because memory ran out. `Exited` follows.
    OutOfMemory,
}

/// What a probe has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProbeResult {
    Passed,
    /// The reason, a lower-case sentence about the worker.
    Failed(String),
    /// Nothing: the probe could not be made, for this reason.
    Unknown(String),
}

/// What a worker uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Used {
    /// Bytes of resident memory (RSS), those of its child processes included.
    pub(crate) memory: u64,
    /// By how many bytes a second they grow.
    pub(crate) growth: u64,
    /// Connections that it was given. `None`: not all of its listeners count them.
    pub(crate) connections: Option<u64>,
}

/// The message of a worker to NOTIFY_SOCKET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notification {
    /// READY=1
    Ready,
    /// STOPPING=1
    Stopping,
    /// STATUS=
    Status(String),
    /// WATCHDOG=1
    Watchdog,
    /// WATCHDOG=trigger
    WatchdogTrigger,
    /// EXTEND_TIMEOUT_USEC=
    Extend(Duration),
}

/// The connections of a draining worker, as the kernel sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Look {
    /// Connections in the accept queues of the sockets it was lent.
    pub(crate) queued: u32,
    /// Handshakes that began before the core steered away from the worker, and still go on.
    pub(crate) handshaking: u32,
    /// Connections with a request in flight, as far as the kernel shows it.
    pub(crate) busy: u32,
    /// Other connections: quiet, and the worker was the last to send.
    pub(crate) idle: u32,
    /// False: its connections cannot be seen (`busy` and `idle` mean nothing).
    pub(crate) visible: bool,
    /// It was frozen, and every thread of it had stopped before the look began.
    pub(crate) still: bool,
    /// What the stop signal means to the processes that hold busy connections.
    #[serde(default)]
    pub(crate) on_stop: OnStop,
}

/// The connections that wait for a ready worker, and whether it takes any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gauge {
    /// Connections in the accept queues of the sockets it was lent, or handed to it and not taken.
    pub(crate) waiting: u32,
    /// Since the last gauge it took a connection or moved bytes on one. Also `true` when this is
    /// unknown.
    pub(crate) moved: bool,
    /// The longest time that one of the connections waiting on its listeners has been seen there.
    pub(crate) oldest: Duration,
}
