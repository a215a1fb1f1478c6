//! What happens to the dashboard, and what it wants done.

use ipc::control::{AppStatus, Notice};
use ratatui::crossterm::event::{KeyEvent, MouseEvent};

use super::action::Action;
use super::log::Line;

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    Key(KeyEvent),
    Mouse(MouseEvent),
    /// The size of the screen in columns and lines, at the start and when it changes.
    Resize(u16, u16),
    /// The names of all apps that there are.
    Apps(Vec<String>),
    /// A look at one app, at a time in milliseconds that does not go back. `Err`: why it failed.
    Status {
        app: String,
        found: Result<Box<AppStatus>, String>,
        at_ms: u64,
    },
    /// Something happened in an app. `time` is for display.
    Notice {
        app: String,
        time: String,
        notice: Notice,
    },
    /// Lines of the log that the last [`Effect::Follow`] asked for. `begins`: the first of them.
    Log {
        app: String,
        lines: Vec<Line>,
        begins: bool,
    },
    /// A command that [`Effect::Run`] asked for has ended.
    Outcome(Outcome),
    /// Something of the dashboard itself does not work.
    Fault(String),
    /// The terminal is gone, or this process was told to end.
    End,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) action: Action,
    /// The message of the command, or why it failed.
    pub(crate) result: Result<String, String>,
    /// The last lines of the program that failed.
    pub(crate) last_lines: Vec<String>,
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
