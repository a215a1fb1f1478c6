//! Where a worker listens with TCP sockets that the supervisor did not lend.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The addresses of such sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OwnSockets {
    /// The supervisor left them to the program: a port that the kernel chose (port 0), or an
    /// address that the configuration leaves alone.
    pub(crate) let_through: BTreeSet<String>,
    /// The supervisor did not see them come: no intercepted call made them listen.
    pub(crate) unseen: BTreeSet<String>,
}
