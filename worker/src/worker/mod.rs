//! The public handle of this process on the bus, one file for each kind of message.

mod admission;
mod calls;
mod configured;
mod descriptors;
mod events;
#[cfg(feature = "tokio")]
mod futures;
mod handle;
mod metrics;
mod serving;

pub use calls::Call;
pub use handle::Worker;
