//! For programs that know they run under the supervisor.
//!
//! No program needs this crate: the supervisor runs unmodified programs. Use it if your program
//! should know which worker it is, take a listening socket by its name, say when it is ready, or
//! talk with other workers. The crate is blocking (futures for tokio are behind the feature
//! `tokio`). Everything also works without a supervisor: then there is no identity, the crate
//! binds the listeners itself, and the bus reaches the handlers of this process only.
//!
//! ```no_run
//! fn main() -> std::io::Result<()> {
//!     let worker = worker::Worker::join()?;
//!     worker.on("cache:clear", |event| println!("worker {} asks", event.from.worker))?;
//!     let listener = worker.listener("8000")?;
//!     worker.ready()?;
//!     while let Some((connection, from)) = listener.accept()? {
//!         worker.counter("connections", 1.0, &[])?;
//!         drop((connection, from));
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # The bus
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let worker = worker::Worker::join()?;
//! // Every handler of the topic gets it, in every worker and language.
//! let (sender, heard) = std::sync::mpsc::channel();
//! worker.on("orders", move |event| {
//!     sender.send(event.data::<u64>()?).map_err(worker::Error::from)
//! })?;
//! worker.emit("orders", &17)?;
//! assert_eq!(heard.recv()?, 17);
//! // One idle worker answers. An empty pool name means the caller's own pool.
//! worker.serve("double", 1, |request| request.data::<u64>().map(|number| number * 2))?;
//! let doubled: u64 = worker.call("", "double", &21)?;
//! assert_eq!(doubled, 42);
//! # Ok(())
//! # }
//! ```
//!
//! Events come at most once: a worker that has not joined, or reads too slowly, misses them
//! ([`Worker::failures`] counts the dropped ones). The events of one worker come in the order in
//! which it emitted them. A call has exactly one answer or [`CallError`]. Only one process of a
//! worker may join.

mod answer_slot;
mod call_error;
mod callbacks;
mod channel;
mod client;
mod contain;
mod descriptor;
mod dispatch;
mod identity;
mod leader;
mod listen;
mod notify;
mod reading;
mod registry;
mod state;
mod sync;
mod worker;

pub use call_error::CallError;
pub use identity::Identity;
pub use ipc::bus::{Json, Peer};
pub use leader::{is_leader, until_leader};
#[cfg(feature = "axum")]
pub use listen::Client;
pub use listen::{Connection, Listener, listener};
#[cfg(feature = "tokio")]
pub use listen::{TokioConnection, TokioListener};
pub use notify::{ready, status, stopping};
pub use registry::{Event, Given, HandlerId, Outcome, Request};
pub use state::limits::{Limited, Open};
pub use worker::{Call, Worker};

/// Any error, for handlers that use `?` on several types of error.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
