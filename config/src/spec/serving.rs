//! The addresses that an app serves, and how its connections are balanced.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One configured address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct ListenSpec {
    /// The name in LISTEN_FDNAMES and `${fd:NAME}`; letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// Where to listen.
    pub address: ListenAddress,
}

/// An address that can be listened on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum ListenAddress {
    /// A TCP address. The port is never 0.
    Tcp(SocketAddr),
    /// A unix stream socket at this absolute path.
    Unix(PathBuf),
}

/// An address or a part of one, for `passthrough`: `:9229` any address with that port,
/// `127.0.0.1:*` any port of that address, `127.0.0.1:9229` exactly that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct AddressPattern {
    /// `None`: any address.
    pub ip: Option<IpAddr>,
    /// `None`: any port.
    pub port: Option<u16>,
}

/// Which worker gets a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum Balance {
    /// Each ready worker in turn.
    RoundRobin,
    /// The same client address, the same slot.
    Sticky,
    /// The worker that holds the fewest connections.
    LeastConnections,
    /// The kernel places each connection evenly and independently.
    Hash,
    /// One socket for all; the worker that accepts first.
    Shared,
}

/// What distributes connections to the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum Engine {
    /// Kernel where it can, else primary.
    Auto,
    /// A steering program on the sockets; no connection passes through the primary.
    Kernel,
    /// The primary accepts and hands the connection over.
    Primary,
}

/// What the workers may do with io_uring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum IoUring {
    /// What the kernel allows.
    #[default]
    Allow,
    /// Nothing: `io_uring_setup` fails with ENOSYS, as in a kernel without it.
    Deny,
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl AddressPattern {
    /// Whether `address` is one of those that the pattern stands for.
    pub fn matches(&self, address: SocketAddr) -> bool {
        self.ip.is_none_or(|ip| ip == address.ip()) && self.port.is_none_or(|p| p == address.port())
    }
}
