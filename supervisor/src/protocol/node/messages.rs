//! The words of a link about its worker, and its errors.

use std::os::fd::OwnedFd;

use ipc::node::{HandleKind, Measured, NodeError, ServerAsk, UserMessage};

pub(crate) use crate::base::ids::HandOffId;

/// A message of a worker.
#[derive(Debug)]
pub(crate) enum Word {
    /// Node has started; the program is about to run.
    Online,
    /// It wants an address, and one of the `reply_…` commands must answer. `again`: it has asked
    /// for exactly this before and still has it. Outside a cluster that is EADDRINUSE (except for a
    /// UDP socket that may have set SO_REUSEADDR).
    Query { seq: u64, ask: Box<ServerAsk>, again: bool },
    /// It listens. `ask.port` is the real port. `key`: the server, if it has asked for one.
    Listening { key: Option<String>, ask: Box<ServerAsk> },
    /// It has closed that server. It will refuse connections that are handed over meanwhile.
    Closed { key: String },
    /// It leaves of its own accord (`cluster.worker.disconnect()`): no failure, whatever its exit.
    Leaving,
    /// `process.send`.
    Message(UserMessage),
    /// `process.send` with a socket.
    Handle { kind: HandleKind, message: UserMessage, fd: OwnedFd },
    /// It took the connection; ours is closed.
    Accepted { id: HandOffId },
    /// It did not take the connection and did not read from it: another worker can have it.
    Refused { id: HandOffId, fd: OwnedFd },
    /// What our preload measured in the worker.
    Measured(Measured),
    /// It sent an unknown message, which has no effect.
    Ignored { what: String },
}

/// A connection that a gone worker left.
#[derive(Debug)]
pub(crate) struct TakenBack {
    pub(crate) id: HandOffId,
    pub(crate) fd: OwnedFd,
    /// The descriptor has reached the worker. Node announces that it takes a connection before it
    /// reads from it, so this one is untouched as well, unless that announcement was still on its
    /// way.
    pub(crate) arrived: bool,
}

/// Why a channel must be closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the worker's channel cannot be read: {0}")]
    Unreadable(#[from] NodeError),
    #[error("the worker sent a descriptor where none belongs")]
    StrayHandle,
    #[error("the worker answered a message that was never sent to it")]
    AnsweredUnasked,
    #[error("the worker acknowledged a descriptor that was never sent to it")]
    AcknowledgedUnsent,
    #[error(
        "the worker did not get its listening socket, so its program would wait for ever (it may \
         be out of file descriptors: see `ulimit -n`)"
    )]
    SocketLost,
    #[error("the worker asked twice for the same server")]
    AskedTwice,
    #[error("the worker asked for more servers than the limit")]
    TooManyAsks,
    #[error("the worker got an answer to a request that it did not make")]
    NotAsked,
    #[error("the worker has stopped reading its channel: {queued} bytes wait for it")]
    NotReading { queued: usize },
    #[error("a message to the worker cannot be written: {0}")]
    Unsayable(#[from] serde_json::Error),
}

/// Why a command was refused. The channel stays open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the worker is leaving")]
    Leaving,
    #[error("the worker does not serve this")]
    NotServing,
    #[error("too much waits for the worker already")]
    Full,
    #[error("a message whose `cmd` begins with `NODE_` is Node's own and cannot be sent")]
    Reserved,
}

/// A connection that was not even queued.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) why: Refusal,
    pub(crate) fd: OwnedFd,
}
