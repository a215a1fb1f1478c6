//! The role of a worker in its slot.

/// The role of a worker in its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::primary) enum Role {
    Seated,
    Successor,
    Retiring,
    Rescue,
    /// It served before a switch, and can serve again at once.
    Warm,
}
