//! What can become of a request.

use serde::Serialize;

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

/// How a request was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// Nobody listened.
    Refused,
    /// The connection was reset.
    Reset,
    /// The answer ended before its end, or before its beginning.
    Truncated,
    /// No complete answer within the time limit.
    Hung,
    /// Another status than expected, or no HTTP.
    Wrong,
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

impl Kind {
    /// The kinds that it belongs to.
    pub(super) fn family(self) -> Family {
        match self {
            Self::Refused => Family::Refused,
            Self::Reset | Self::Truncated => Family::Broken,
            Self::Hung => Family::Hung,
            Self::Wrong => Family::Wrong,
        }
    }

    pub(super) const ALL: [Self; 5] =
        [Self::Refused, Self::Reset, Self::Truncated, Self::Hung, Self::Wrong];

    /// The word for it, as in JSON.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Truncated => "truncated",
            Self::Hung => "hung",
            Self::Wrong => "wrong",
        }
    }
}

/// A request without a complete and correct answer. Times are milliseconds since the run began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) kind: Kind,
    pub(super) style: Style,
    /// The client's port; 0 if there was no connection.
    pub(super) port: u16,
    /// When the connection was opened.
    pub(super) opened: u64,
    pub(super) begun: u64,
    pub(super) ended: u64,
    /// What the client saw.
    pub(super) text: String,
}
