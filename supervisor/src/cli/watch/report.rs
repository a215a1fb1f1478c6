//! What the threads report.

use ipc::control::{AppStatus, Notice, NoticeKind};

use super::action::Action;
use super::line::Line;

/// One report.
#[derive(Debug)]
pub(crate) enum Report {
    /// The names of all apps that there are.
    Apps(Vec<String>),
    /// A look at one app, at a time in milliseconds that does not go back. `Err`: why it failed.
    Status { app: String, found: Result<Box<AppStatus>, String>, at_ms: u64 },
    /// Something happened in an app. `time` is that of the notice for display on this machine.
    Notice { app: String, time: String, notice: Notice },
    /// Lines of the log that was asked for. `begins`: the first of them.
    Log { app: String, lines: Vec<Line>, begins: bool },
    /// A command has ended.
    Outcome(Outcome),
    /// Something of the dashboard itself does not work.
    Fault(String),
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

/// The dashboard has ended, and wants no more reports.
#[derive(Debug)]
pub(crate) struct Ended;

/// Whether a notice is bad news.
pub(crate) fn is_bad(notice: &Notice) -> bool {
    matches!(
        notice.event,
        NoticeKind::WorkerFailed
            | NoticeKind::SlotErrored
            | NoticeKind::ReloadRolledBack
            | NoticeKind::BindRefused
            | NoticeKind::Warning
    )
}
