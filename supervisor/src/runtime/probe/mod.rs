//! What the kernel and the workers show of a worker: whether it is drained, hung or growing.

pub(crate) mod drain;
pub(crate) mod growth;
pub(crate) mod hang;
