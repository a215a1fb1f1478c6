//! What a program does at its stop signal.

use serde::{Deserialize, Serialize};

/// What the stop signal means to a worker, as far as the kernel shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnStop {
    /// It has no handler for it, or that could not be seen.
    #[default]
    Dies,
    /// The program installed a handler.
    Handles,
    /// Its runtime installs a handler in every program (Go, Java, Ruby), so that says nothing.
    RuntimeHandles,
    /// It ends its kept connections by itself when it drains.
    EndsKept,
}
