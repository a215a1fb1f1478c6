//! The states of a worker, and the changes that its owner must act on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::drain::Drain;
use super::end::{Cause, End};
use crate::base::ids::{ListenerId, SocketId, Ticket};
use crate::base::time::Time;

/// How long a worker may live on after it was killed. One that waits in the kernel (state D), or
/// has the rights of another user, may never end; one with much memory needs seconds to give it
/// back.
pub(in crate::primary) const LAST: Duration = Duration::from_secs(10);

/// The state of a worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::primary) enum State {
    /// It is unknown yet whether its program runs. `doomed`: kill it as soon as it does.
    Spawning {
        doomed: bool,
    },
    /// Its program runs. If it is not ready at `ready_by`, it has failed.
    Starting {
        since: Time,
        ready_by: Time,
    },
    Ready,
    /// It gets no new connections, and the primary watches those it has.
    Draining(Drain),
    /// The primary told it to stop and kills it at `deadline`. `None`: it has killed it, at
    /// `killed`.
    Killing {
        /// When the primary told it.
        since: Time,
        deadline: Option<Time>,
        cause: Cause,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        killed: Option<Time>,
    },
}

impl State {
    /// The primary kills it now.
    pub(in crate::primary) fn killed(now: Time, cause: Cause) -> Self {
        Self::Killing { since: now, deadline: None, cause, killed: Some(now) }
    }
}

/// What the owner of the worker must act on.
#[derive(Debug)]
pub(in crate::primary) enum Change {
    Nothing,
    /// The worker asks for a socket; its `bind` hangs until it gets one.
    Asks {
        listener: ListenerId,
        ticket: Ticket,
        another: bool,
    },
    /// The worker listens on a socket that was lent to it.
    Listens {
        listener: ListenerId,
        socket: SocketId,
    },
    /// The worker no longer listens there.
    Closes {
        listener: ListenerId,
        socket: SocketId,
    },
    Ready,
    /// The worker did not apply the shared values.
    RefusesValues {
        reason: String,
    },
    Gone(End),
}
