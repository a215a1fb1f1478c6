//! Where a worker is in its life, and what its owner must act on.

use serde::{Deserialize, Serialize};

use super::drain::Drain;
use super::end::{Cause, End};
use crate::base::ids::{ListenerId, SocketId, Ticket};
use crate::base::time::Time;

/// Where a worker is in its life.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::primary) enum State {
    /// It is not known yet whether its program runs. `doomed`: it is to be killed when it does.
    Spawning {
        doomed: bool,
    },
    /// Its program runs. Not ready at `ready_by` is a failure.
    Starting {
        since: Time,
        ready_by: Time,
    },
    Ready,
    /// It gets no new connections; what it has is being watched.
    Draining(Drain),
    /// It was told to stop and is killed at `deadline`. `None`: it has been.
    Killing {
        /// When it was told.
        since: Time,
        deadline: Option<Time>,
        cause: Cause,
    },
}

/// What the worker's owner must act on.
#[derive(Debug)]
pub(in crate::primary) enum Change {
    Nothing,
    /// It asks for a socket; the `bind` hangs until it gets one.
    Asks {
        listener: ListenerId,
        ticket: Ticket,
        another: bool,
    },
    /// It listens on a socket that it was lent.
    Listens {
        listener: ListenerId,
        socket: SocketId,
    },
    /// It listens there no more.
    Closes {
        listener: ListenerId,
        socket: SocketId,
    },
    Ready,
    /// It did not apply the shared values.
    RefusesValues {
        reason: String,
    },
    Gone(End),
}
