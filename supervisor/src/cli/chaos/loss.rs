//! What can become of a request.

use std::net::SocketAddr;

use serde::Serialize;

use crate::cli::trial::kind::Kind;

/// How a client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Style {
    /// A new connection for each request.
    New,
    /// One request after the other over a connection, which the client closes after a while.
    Kept,
    /// Several requests at once over a connection.
    Pipelined,
    /// Reads late and in small pieces.
    SlowReader,
    /// Sends its request in two halves.
    SlowWriter,
    /// Sends frames over a WebSocket and awaits each one back.
    WebSocket,
    /// Connects and holds: the server does not speak HTTP.
    Hold,
}

impl Style {
    /// Those of clients that speak HTTP.
    pub(super) const HTTP: [Self; 6] = [
        Self::New,
        Self::Kept,
        Self::Pipelined,
        Self::SlowReader,
        Self::SlowWriter,
        Self::WebSocket,
    ];

    /// The word for it, as in JSON.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Kept => "kept",
            Self::Pipelined => "pipelined",
            Self::SlowReader => "slow-reader",
            Self::SlowWriter => "slow-writer",
            Self::WebSocket => "web-socket",
            Self::Hold => "hold",
        }
    }
}

/// Kinds that have the same causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    Refused,
    /// Reset or truncated: which of the two a broken connection is depends on what was unread.
    Broken,
    Hung,
    Wrong,
}

impl Family {
    /// The kinds that this one belongs to.
    pub(super) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Refused => Self::Refused,
            Kind::Reset | Kind::Truncated => Self::Broken,
            Kind::Hung => Self::Hung,
            Kind::Wrong => Self::Wrong,
        }
    }
}

/// A request without a complete and correct answer. Times are milliseconds since the run began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) kind: Kind,
    pub(super) style: Style,
    /// The client's end of the connection, if there was one.
    pub(super) client: Option<SocketAddr>,
    /// When the connection was opened.
    pub(super) opened: u64,
    pub(super) begun: u64,
    pub(super) ended: u64,
    /// What the client saw.
    pub(super) text: String,
}
