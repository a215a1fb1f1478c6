//! Both ends of systemd's small protocols.
//!
//! [`listen`]: listening sockets handed to a process that is started, as in sd_listen_fds(3).
//! [`notify`]: what a service says about itself, as in sd_notify(3).
//! [`unit`]: the unit files.

pub mod listen;
pub mod notify;
pub mod unit;

/// What a service manager says by the environment to one process, and to no process that it starts.
pub const VARIABLES: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];
