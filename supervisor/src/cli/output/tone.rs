//! How a state is to be taken, which decides its mark, its colour and its place.

use ipc::control::Status;

/// From what needs attention most to what needs none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tone {
    /// It serves no requests, or its state is unknown.
    Bad,
    /// It serves, with less than is wanted.
    Warning,
    /// It changes as somebody asked.
    Busy,
    /// As wanted.
    Good,
    /// Out of use by request.
    Idle,
}

impl Tone {
    /// That of an app.
    pub(crate) fn of(status: Status) -> Self {
        match status {
            Status::Errored | Status::Unresponsive | Status::Lost => Self::Bad,
            Status::Degraded | Status::Unknown => Self::Warning,
            Status::Starting | Status::Reloading | Status::Stopping => Self::Busy,
            Status::Ready => Self::Good,
            Status::Stopped => Self::Idle,
        }
    }

    /// The text in its colour (ECMA-48: SGR).
    pub(crate) fn painted(self, text: &str) -> String {
        let colour = match self {
            Self::Bad | Self::Warning => 31,
            Self::Busy => 33,
            Self::Good => 32,
            Self::Idle => 90,
        };
        format!("\u{1b}[{colour}m{text}\u{1b}[0m")
    }
}

/// Whether the user has not turned colours off with NO_COLOR (<https://no-color.org>).
pub(crate) fn colours_are_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
