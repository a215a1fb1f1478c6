//! All actions that the core can order. Their results come back as events of a later turn.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use config::change::SpecChange;
use config::spec::{AppSpec, HookKind};
use ipc::control::{Notice, Reply};
use ipc::talk::BusRequest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::ids::{
    ClientId, CommandKey, Generation, ListenerId, MergeId, Slot, SocketId, Ticket, WorkerId,
};

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Open the addresses of `spec.listen` that are not open yet. Answer: `ListenersOpened`.
    OpenListeners { spec: Arc<AppSpec> },
    /// Merge a change with the spec that stands, and with the app's file as it is now.
    /// Answer: `Merged`.
    Merge { merge: MergeId, running: Arc<AppSpec>, change: SpecChange },
    /// Start a worker. `lend`: the socket of each configured listener it is to inherit.
    /// Answer: `Spawned` or `SpawnFailed`.
    Spawn {
        worker: WorkerId,
        slot: Slot,
        generation: Generation,
        spec: Arc<AppSpec>,
        /// How many workers the app has now (SUPERVISOR_WORKERS).
        workers: u16,
        lend: Vec<(ListenerId, SocketId)>,
    },
    /// Start the process of a hook, which is known by the number `hook`. Answer: `Spawned` or
    /// `SpawnFailed`, later `Exited`, as of a worker of this number.
    RunHook {
        hook: WorkerId,
        kind: HookKind,
        /// The worker that it is about.
        worker: Option<WorkerId>,
        slot: Slot,
        generation: Generation,
        spec: Arc<AppSpec>,
        /// What its environment says of its cause.
        variables: BTreeMap<String, String>,
    },
    /// Answer a `BindAsked`: put this socket over the program's fd. A `SocketId` not seen before
    /// is made. Not answered if the worker is gone meanwhile.
    Lend { ticket: Ticket, worker: WorkerId, listener: ListenerId, socket: SocketId },
    /// From now on new connections go to these sockets and no others. Never empty.
    Steer { listener: ListenerId, targets: Vec<Target> },
    /// Refuse new connections of this listener without losing those it has (before a stop).
    Gate { listener: ListenerId },
    /// Close a listener and all its sockets.
    CloseListener { listener: ListenerId },
    /// Have another build take over; it, or the runtime, answers the client.
    Upgrade { client: ClientId, binary: Option<PathBuf> },
    /// Send a signal. `group`: to its whole process group, else to its main process.
    Signal { worker: WorkerId, signal: i32, group: bool },
    /// Tell it to stop, by the message or else the signal that its spec names. The signal goes to
    /// its whole process group.
    Stop { worker: WorkerId },
    /// SIGKILL to its whole process group.
    Kill { worker: WorkerId },
    /// Have it end each kept connection with its next response, or no longer, where it is known
    /// how to. Nothing is promised: the core looks at what it holds all the same.
    EndKept { worker: WorkerId, ends: bool },
    /// See which connections it still holds. Answer: `Looked`.
    Look { worker: WorkerId },
    /// See what waits for it and whether it takes connections. Answer: `Gauged`.
    Gauge { worker: WorkerId },
    /// Everything kept for this worker may go; its sockets stay with the primary.
    Release { worker: WorkerId },
    /// A worker or hook lives on although it was killed: kill it once more, and know it no longer.
    Abandon { worker: WorkerId },
    /// A final answer.
    Answer { client: ClientId, reply: Reply },
    /// Give the status as the final answer. The runtime adds what only it knows.
    AnswerStatus { client: ClientId },
    /// Give the spec that serves as the final answer.
    AnswerSpec { client: ClientId },
    /// Pass the client's message to all workers, or to those of one slot. The runtime answers the
    /// client.
    Send { client: ClientId, message: Value, slot: Option<u16> },
    /// Carry out the client's request to the bus. The runtime answers the client.
    Bus { client: ClientId, request: BusRequest },
    /// Tell the bus that this worker drains: it gets no more calls. No harm if done twice.
    BusDrain { worker: WorkerId },
    /// Note for later primaries whether this command listened on nothing. No harm if done twice.
    NoteQuiet { command: CommandKey, quiet: bool },
    /// Count a reload that has ended.
    ReloadEnded { outcome: ReloadOutcome },
    /// From now on this client gets every notice.
    Subscribe { client: ClientId },
    /// Log it and tell every subscriber.
    Publish(Notice),
    /// Close the log files and open them again. The runtime answers the client, if one asked.
    ReopenLogs { client: Option<ClientId> },
    /// Leave the loop; the primary is done.
    Exit { code: u8 },
}

/// When the runtime carries out an action, relative to the others of its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It changes something.
    Change,
    /// It tells somebody outside what the core decided. That is true by then: a client that hears
    /// of a new worker, or that its job is done, may connect at once and is steered accordingly.
    Tell,
    Leave,
}

impl Action {
    /// The actions of a turn are carried out stage by stage, within a stage in their order.
    pub(crate) fn stage(&self) -> Stage {
        match self {
            Self::Answer { .. }
            | Self::AnswerStatus { .. }
            | Self::AnswerSpec { .. }
            | Self::ReloadEnded { .. }
            | Self::Publish(_) => Stage::Tell,
            Self::Exit { .. } => Stage::Leave,
            Self::OpenListeners { .. }
            | Self::Merge { .. }
            | Self::Spawn { .. }
            | Self::RunHook { .. }
            | Self::Lend { .. }
            | Self::Steer { .. }
            | Self::Gate { .. }
            | Self::CloseListener { .. }
            | Self::Upgrade { .. }
            | Self::Signal { .. }
            | Self::Stop { .. }
            | Self::Kill { .. }
            | Self::EndKept { .. }
            | Self::Look { .. }
            | Self::Gauge { .. }
            | Self::Release { .. }
            | Self::Abandon { .. }
            | Self::Send { .. }
            | Self::Bus { .. }
            | Self::BusDrain { .. }
            | Self::NoteQuiet { .. }
            | Self::Subscribe { .. }
            | Self::ReopenLogs { .. } => Stage::Change,
        }
    }
}

/// How a reload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReloadOutcome {
    /// The new generation serves.
    Done,
    /// It failed, and everything is as before.
    RolledBack,
}

/// One socket that gets new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) slot: Slot,
    pub(crate) socket: SocketId,
}
