//! The messages between the supervisor's processes, and the codecs that turn them into bytes and
//! back; and the bucket by which both ends limit a rate. This crate opens no sockets.

pub mod bus;
#[cfg(feature = "control")]
pub mod control;
pub mod lines;
pub mod node;
#[cfg(feature = "control")]
mod notice;
#[cfg(feature = "control")]
pub mod pool;
pub mod talk;
pub mod token_bucket;
#[cfg(feature = "control")]
pub mod worker_status;
