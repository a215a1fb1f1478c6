//! What the core remembers of recycled workers.

use serde::{Deserialize, Serialize};

use crate::base::ids::Slot;
use crate::base::time::Time;
use crate::primary::rate::Rate;

/// The replacements of all slots.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::primary) struct Recycling {
    pub(in crate::primary) begun: Rate,
    /// How many have taken over since the app was started.
    pub(in crate::primary) done: u64,
    /// Successors in a row that never took over.
    pub(in crate::primary) failures: u32,
    /// After such a failure, the next one begins no earlier.
    pub(in crate::primary) rests_until: Option<Time>,
    /// The next look at a worker that may not be replaced yet.
    pub(in crate::primary) again: Option<Time>,
    /// It was said that the budget is spent.
    pub(in crate::primary) said: bool,
}

/// The replacements of one slot for what its successor may reach at once: memory, liveness.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::primary) struct RecycleLoop {
    pub(in crate::primary) begun: Rate,
    /// It was said that they are too many.
    pub(in crate::primary) said: bool,
}

/// A replacement under way.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::primary) struct Recycle {
    pub(in crate::primary) slot: Slot,
}
