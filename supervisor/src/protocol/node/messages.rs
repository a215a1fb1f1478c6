//! What a link says of its worker, and why it refuses.

use std::os::fd::OwnedFd;

use ipc::node::{HandleKind, Measured, NodeError, ServerAsk, UserMessage};

pub(crate) use crate::base::ids::HandOffId;

/// One thing a worker said.
#[derive(Debug)]
pub(crate) enum Word {
    /// Node has started; the program is about to run.
    Online,
    /// It wants an address. To be answered by one of the `reply_…` commands. `again`: it has
    /// asked for the very same before, and has it still; without us that is EADDRINUSE (but a
    /// UDP socket may have asked for SO_REUSEADDR).
    Query { seq: u64, ask: Box<ServerAsk>, again: bool },
    /// It listens. `ask.port` is the real port. `key`: of the server it is about, if it has one.
    Listening { key: Option<String>, ask: Box<ServerAsk> },
    /// It has closed that server. Connections handed over meanwhile will come back.
    Closed { key: String },
    /// It leaves of its own accord (`cluster.worker.disconnect()`): no failure, whatever its exit.
    Leaving,
    /// `process.send`.
    Message(UserMessage),
    /// `process.send` with a socket.
    Handle { kind: HandleKind, message: UserMessage, fd: OwnedFd },
    /// It took the connection; ours is closed.
    Accepted { id: HandOffId },
    /// It did not take the connection and did not read from it: to be given to another.
    Refused { id: HandOffId, fd: OwnedFd },
    /// What our preload measured in it.
    Measured(Measured),
    /// It said something that means nothing to us, and nothing came of it.
    Ignored { what: String },
}

/// A connection whose worker is gone.
#[derive(Debug)]
pub(crate) struct TakenBack {
    pub(crate) id: HandOffId,
    pub(crate) fd: OwnedFd,
    /// The worker had it in its hands. Node says that it takes a connection before it reads from
    /// it, so this one is untouched too, unless that word was still on its way.
    pub(crate) arrived: bool,
}

/// Why a channel has to be closed.
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
    #[error("the worker asked for more servers than there can be")]
    TooManyAsks,
    #[error("the worker was answered something it had not asked")]
    NotAsked,
    #[error("the worker has stopped reading its channel: {queued} bytes wait for it")]
    NotReading { queued: usize },
    #[error("a message to the worker cannot be written: {0}")]
    Unsayable(#[from] serde_json::Error),
}

/// Why a command was refused. The channel goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the worker is leaving")]
    Leaving,
    #[error("the worker does not serve this")]
    NotServing,
    #[error("the worker has too much waiting for it")]
    Full,
    #[error("a message whose `cmd` begins with `NODE_` is Node's own and cannot be sent")]
    Reserved,
}

/// A connection that could not even be queued.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) why: Refusal,
    pub(crate) fd: OwnedFd,
}
