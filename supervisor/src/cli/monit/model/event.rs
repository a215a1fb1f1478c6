//! What happens to the dashboard, and what it wants done.

use ratatui::crossterm::event::{KeyEvent, MouseEvent};

use crate::cli::watch::{Action, Report};

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    Key(KeyEvent),
    Mouse(MouseEvent),
    /// The size of the screen in columns and lines, at the start and when it changes.
    Resize(u16, u16),
    /// A thread has something to report: about apps, the log that the last [`Effect::Follow`] asked
    /// for, or a command that [`Effect::Run`] asked for.
    Report(Report),
    /// The terminal is gone, or this process was told to end.
    End,
}

impl From<Report> for Event {
    fn from(report: Report) -> Self {
        Self::Report(report)
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Read the log of this app, instead of that of another.
    Follow(Option<String>),
    /// Run the command, and report its outcome.
    Run(Action),
    /// Draw every cell anew.
    Redraw,
    /// Give the terminal back and stop, as Ctrl-Z does elsewhere.
    Suspend,
    /// Give the terminal back and end.
    Quit,
}
