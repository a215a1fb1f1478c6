//! The closed set of what the core can have done. Results come back as events of a later turn.

use std::path::PathBuf;
use std::sync::Arc;

use config::spec::AppSpec;
use ipc::control::{Notice, Reply};
use ipc::talk::BusRequest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::ids::{ClientId, Generation, ListenerId, Slot, SocketId, Ticket, WorkerId};

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Open the addresses of `spec.listen` that are not open yet. Answer: `ListenersOpened`.
    OpenListeners { spec: Arc<AppSpec> },
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
    /// SIGKILL to its whole process group.
    Kill { worker: WorkerId },
    /// Have it end each kept connection with its next response, or no longer, where it is known
    /// how to. Nothing is promised: what it holds is looked at all the same.
    EndKept { worker: WorkerId, ends: bool },
    /// See what it still holds. Answer: `Looked`.
    Look { worker: WorkerId },
    /// See what waits for it and whether it moves. Answer: `Gauged`.
    Gauge { worker: WorkerId },
    /// Everything kept for this worker may go; its sockets stay with the primary.
    Release { worker: WorkerId },
    /// A final answer.
    Answer { client: ClientId, reply: Reply },
    /// The final answer is the status; the runtime completes what only it knows.
    AnswerStatus { client: ClientId },
    /// The final answer is the spec that serves.
    AnswerSpec { client: ClientId },
    /// The client wants a message given to the workers, or to one slot's; the runtime does it and
    /// answers.
    Send { client: ClientId, message: Value, slot: Option<u16> },
    /// The client asks something of the bus; the runtime does it and answers.
    Bus { client: ClientId, request: BusRequest },
    /// From now on this client gets every notice.
    Subscribe { client: ClientId },
    /// Log it and tell every subscriber.
    Publish(Notice),
    /// Close and open the log files again.
    ReopenLogs,
    /// Leave the loop; the primary is done.
    Exit { code: u8 },
}

/// One socket that gets new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) slot: Slot,
    pub(crate) socket: SocketId,
}
