//! Listening sockets: those that the supervisor passes to this process, and listeners that obey
//! the limits of `[shared.limits]`.

mod connection;
mod listener;
mod socket_activation;
#[cfg(feature = "tokio")]
mod tokio_listener;

pub use connection::Connection;
pub use listener::Listener;
pub use socket_activation::listener;
#[cfg(feature = "axum")]
pub use tokio_listener::Client;
#[cfg(feature = "tokio")]
pub use tokio_listener::{TokioConnection, TokioListener};
