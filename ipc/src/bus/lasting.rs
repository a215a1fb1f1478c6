//! Which messages last: the one answer for both ends.

use super::FromWorker;

impl FromWorker {
    /// Whether it says how things are from now on, or ends that: what the supervisor remembers of
    /// a worker, and what the worker says again when another primary goes on.
    pub fn lasts(&self) -> bool {
        match self {
            Self::Hello { .. }
            | Self::Ready {}
            | Self::Draining {}
            | Self::Subscribe { .. }
            | Self::Unsubscribe { .. }
            | Self::Serve { .. }
            | Self::Unserve { .. }
            | Self::Action { .. }
            | Self::Applied { .. } => true,
            Self::Emit { .. }
            | Self::Send { .. }
            | Self::Call { .. }
            | Self::Answer { .. }
            | Self::Fail { .. }
            | Self::Metric { .. }
            | Self::Ping { .. }
            | Self::Pong { .. }
            | Self::Give { .. } => false,
        }
    }
}
