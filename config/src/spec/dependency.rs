//! What an app waits for when it is started together with others.

use serde::{Deserialize, Serialize};

/// What must be true of another app before this one is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum Dependency {
    /// Its start was tried.
    Started,
    /// Its workers are ready.
    Ready,
    /// Its workers have done their work, and ended.
    Completed,
}
