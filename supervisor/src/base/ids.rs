//! The names the core calls things by. Pids and fds are not among them.

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
    /// One worker; never reused while the app is defined.
    WorkerId(u64)
);
id!(
    /// A stable place 0..n of a worker; its replacement takes the same.
    Slot(u16)
);
id!(
    /// Which slots a pool has. 0 is the app's own.
    PoolIndex(u16)
);
id!(
    /// Grows with each reload, from 1.
    Generation(u32)
);
id!(
    /// An address the app serves on.
    ListenerId(u32)
);
id!(
    /// One socket of a listener, lent to one worker at a time. Counted per listener from 0, in the
    /// order in which the core asked for them; never reused while the listener is open.
    SocketId(u32)
);
id!(
    /// A connection of the control socket.
    ClientId(u64)
);
id!(
    /// A worker's `bind` that waits for its answer.
    Ticket(u64)
);
id!(
    /// A connection that the primary hands over, while it is on its way to a worker.
    HandOffId(u64)
);
