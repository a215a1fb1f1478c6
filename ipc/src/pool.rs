//! A pool of an app, as [`AppStatus`](crate::control::AppStatus) shows it.

use serde::{Deserialize, Serialize};

/// One group of workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Its name; the app's own is `default`.
    pub name: String,
    /// The command line.
    pub command: Vec<String>,
    /// The generation that serves, or shall serve.
    pub generation: u32,
    /// So many workers are wanted.
    pub wanted: u16,
    /// Which limit decided `wanted`.
    pub wanted_because: String,
    /// So many are ready.
    pub ready: u16,
    /// The first of its slots.
    pub first_slot: u16,
}
