//! How a request can be lost.

use serde::Serialize;

/// How a request was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
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

impl Kind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Refused, Self::Reset, Self::Truncated, Self::Hung, Self::Wrong];

    /// The word for it, as in JSON.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Truncated => "truncated",
            Self::Hung => "hung",
            Self::Wrong => "wrong",
        }
    }
}
