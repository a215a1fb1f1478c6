//! A pool of an app, as [`AppStatus`](crate::control::AppStatus) shows it.

use serde::{Deserialize, Serialize};

/// One group of workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct PoolStatus {
    /// Its name; the app's own is `default`.
    pub name: String,
    /// The command line.
    pub command: Vec<String>,
    /// The generation that serves, or that a rollout is bringing up.
    pub generation: u32,
    /// How many workers are wanted.
    pub wanted: u16,
    /// Which limit decided `wanted`, as text for display.
    pub wanted_because: String,
    /// How many workers are ready.
    pub ready: u16,
    /// The pool's first slot.
    pub first_slot: u16,
}
