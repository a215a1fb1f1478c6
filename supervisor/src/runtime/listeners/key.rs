//! What a listener is found by.

use std::net::SocketAddr;
use std::path::PathBuf;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    /// An address, and for IPv6 whether it leaves IPv4 out.
    Tcp(SocketAddr, bool),
    /// The same for UDP.
    Udp(SocketAddr, bool),
    Unix(PathBuf),
}
