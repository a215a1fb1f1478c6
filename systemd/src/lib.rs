//! systemd's small protocols, both ends.
//!
//! * [`listen`]: listening sockets for a started process, as in sd_listen_fds(3).
//! * [`notify`]: a service's state, as in sd_notify(3).
//! * [`unit`]: the unit files.

pub mod listen;
pub mod notify;
pub mod unit;

/// The variables by which a service manager talks to one process. That process must not pass them
/// on to the processes that it starts.
pub const VARIABLES: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];
