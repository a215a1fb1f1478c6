//! Which messages have a lasting effect: one definition for both ends of a channel.

use super::FromWorker;

impl FromWorker {
    /// Whether the message sets a lasting state or ends one. The supervisor remembers such a state
    /// for each worker, and the worker sends it again when a new primary takes over.
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
