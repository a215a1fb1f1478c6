//! For programs that know they run under the supervisor.
//!
//! No program needs this: the supervisor serves unmodified ones. It is for those who want to know
//! which worker they are, to take a lent socket by its name, to say when they are ready, or to
//! talk with the other workers. It is blocking (tokio behind the feature `tokio`), and everything
//! in it also works without a supervisor: then there is no identity, listeners are bound, and the
//! bus reaches the handlers of this process only.
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
//! // Everybody who listens hears it, in every worker and language.
//! let (sender, heard) = std::sync::mpsc::channel();
//! worker.on("orders", move |event| sender.send(event.data::<u64>()?).map_err(worker::Error::from))?;
//! worker.emit("orders", &17)?;
//! assert_eq!(heard.recv()?, 17);
//! // One idle worker answers. An empty pool name is the caller's own pool.
//! worker.serve("double", 1, |request| request.data::<u64>().map(|number| number * 2))?;
//! let doubled: u64 = worker.call("", "double", &21)?;
//! assert_eq!(doubled, 42);
//! # Ok(())
//! # }
//! ```
//!
//! Events come at most once: who is not there, or reads too slowly, misses them (counted, see
//! [`Worker::failures`]). They come in the order in which one worker emitted them. A call has
//! exactly one answer or [`CallError`]. Only one process of a worker may join.

mod accept;
mod answer;
mod batch;
mod bus;
mod calls;
mod channel;
mod chores;
mod configured;
mod connection;
mod desk;
#[cfg(feature = "tokio")]
mod futures;
mod gifts;
mod handlers;
mod hear;
mod identity;
mod lent;
mod limits;
mod measure;
mod question;
mod reading;
mod standing;
#[cfg(feature = "tokio")]
mod tokio_accept;

use std::io;

pub use accept::Listener;
pub use bus::Worker;
pub use calls::{Call, CallError};
pub use connection::Connection;
pub use gifts::Given;
pub use handlers::{Event, HandlerId, Outcome};
pub use identity::Identity;
pub use ipc::bus::{Json, Peer};
pub use lent::listener;
pub use limits::{Limited, Open};
pub use question::Request;
use systemd::notify::Notifier;
#[cfg(feature = "axum")]
pub use tokio_accept::Client;
#[cfg(feature = "tokio")]
pub use tokio_accept::{TokioConnection, TokioListener};

/// Any error, for handlers that use `?` on several kinds.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Says that this worker serves. Matters where the app has `ready = "notify"`.
pub fn ready() -> io::Result<()> {
    say("READY=1")
}

/// Says that this worker is about to leave by itself.
pub fn stopping() -> io::Result<()> {
    say("STOPPING=1")
}

/// Says how this worker is, in one line for people. Line breaks become spaces, since each line
/// would be another statement.
pub fn status(text: &str) -> io::Result<()> {
    say(&format!("STATUS={}", text.replace(['\n', '\r'], " ")))
}

fn say(text: &str) -> io::Result<()> {
    match Notifier::from_env()? {
        Some(notifier) => notifier.send(text),
        None => Ok(()),
    }
}
