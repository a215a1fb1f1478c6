//! What a worker tells its service manager, in the protocol of sd_notify(3). The supervisor listens
//! to it.

use std::io;

use systemd::notify::Notifier;

/// Tells the supervisor that this worker serves. It matters if the app has `ready = "notify"`.
pub fn ready() -> io::Result<()> {
    send("READY=1")
}

/// Tells the supervisor that this worker is about to leave by itself.
pub fn stopping() -> io::Result<()> {
    send("STOPPING=1")
}

/// Tells the supervisor how this worker is, in one line for people. Line breaks become spaces,
/// since each line would be a statement of its own.
pub fn status(text: &str) -> io::Result<()> {
    send(&format!("STATUS={}", text.replace(['\n', '\r'], " ")))
}

fn send(text: &str) -> io::Result<()> {
    match Notifier::from_env()? {
        Some(notifier) => notifier.send(text),
        None => Ok(()),
    }
}
