//! The ids that the core uses. Pids and file descriptors are not among them.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub(crate) struct $name(pub(crate) $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// One worker. An id is never reused while the app is defined.
    WorkerId(u64)
);
id!(
    /// What tells one command from another, also in later lives of a primary.
    CommandKey(u64)
);
id!(
    /// A stable number from 0. A replacement takes the slot of its predecessor.
    Slot(u16)
);
id!(
    /// The index of a pool, which decides its range of slots. 0 is the app's own pool.
    PoolIndex(u16)
);
id!(
    /// Starts at 1 and grows with each reload.
    Generation(u32)
);
id!(
    /// An address that the app serves.
    ListenerId(u32)
);
id!(
    /// One socket of a listener, lent to one worker at a time. Each listener numbers its sockets
    /// from 0, in the order in which the core asked for them. A number is never reused while the
    /// listener is open.
    SocketId(u32)
);
id!(
    /// A connection of the control socket.
    ClientId(u64)
);
id!(
    /// A `bind` call of a worker that waits for its answer.
    Ticket(u64)
);
id!(
    /// A change that is being merged with the spec that stands.
    MergeId(u64)
);
id!(
    /// A connection that the primary hands over, while it is on its way to a worker.
    HandOffId(u64)
);

/// A socket of a listener.
pub(crate) type Place = (ListenerId, SocketId);
