//! A line of a log pane.

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Out,
    Err,
    /// An event of the app, or of the dashboard itself; `bad` if something failed.
    Event {
        bad: bool,
    },
}

/// A harmless line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) origin: Origin,
    pub(crate) text: String,
}
