//! What a worker is to its slot.

/// What a worker is to its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::primary) enum Role {
    Seated,
    Successor,
    Retiring,
    Rescue,
}
