//! For programs that know they run under the supervisor.
//!
//! No program needs this: the supervisor serves unmodified ones. It is for those who want to know
//! which worker they are, to take a lent socket by its name, or to say when they are ready. It is
//! small and blocking, and everything in it also works without a supervisor: then there is no
//! identity, [`listener`] binds by itself and what is said is said to nobody.
//!
//! ```no_run
//! fn main() -> std::io::Result<()> {
//!     let listener = worker::listener("8000")?;
//!     worker::ready()?;
//!     for connection in listener.incoming() {
//!         drop(connection?);
//!     }
//!     Ok(())
//! }
//! ```

mod identity;
mod lent;

use std::io;

pub use identity::Identity;
pub use lent::listener;
use systemd::notify::Notifier;

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
