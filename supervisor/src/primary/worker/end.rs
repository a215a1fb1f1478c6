//! How a worker ended, and why the primary ended it.

use serde::{Deserialize, Serialize};

use crate::base::exit::Exit;

/// Why the primary ends a worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::primary) enum Cause {
    /// It is no longer wanted.
    Told,
    /// It failed, though it lives: a lower-case reason.
    Failed(String),
}

/// How a worker ended.
#[derive(Debug)]
pub(in crate::primary) struct End {
    pub(in crate::primary) kind: EndKind,
    /// How the process ended, if there was one.
    pub(in crate::primary) exit: Option<Exit>,
    pub(in crate::primary) last_lines: Vec<String>,
    /// Connections that wait in the sockets it held; `None`: unknown.
    pub(in crate::primary) queued: Option<u32>,
    /// It was killed and has not ended: nothing waits for its end any more.
    pub(in crate::primary) lives_on: bool,
}

/// What caused the end.
#[derive(Debug)]
pub(in crate::primary) enum EndKind {
    /// The primary told it to go.
    Told,
    /// It ended by itself.
    Died,
    /// The primary killed it because it failed.
    Failed(String),
    /// No process was ever started.
    NotStarted { reason: String, permanent: bool },
}

impl End {
    pub(in crate::primary) fn told(exit: Exit, last_lines: Vec<String>, queued: u32) -> Self {
        let (kind, queued) = (EndKind::Told, Some(queued));
        Self { kind, exit: Some(exit), last_lines, queued, lives_on: false }
    }

    pub(in crate::primary) fn never_was() -> Self {
        let (kind, last_lines) = (EndKind::Told, Vec::new());
        Self { kind, exit: None, last_lines, queued: None, lives_on: false }
    }

    pub(in crate::primary) fn died(exit: Exit, last_lines: Vec<String>, queued: u32) -> Self {
        Self { kind: EndKind::Died, ..Self::told(exit, last_lines, queued) }
    }

    pub(in crate::primary) fn not_started(reason: String, permanent: bool) -> Self {
        let kind = EndKind::NotStarted { reason, permanent };
        Self { kind, ..Self::never_was() }
    }

    pub(in crate::primary) fn is_permanent(&self) -> bool {
        matches!(self.kind, EndKind::NotStarted { permanent: true, .. })
    }

    pub(in crate::primary) fn is_clean(&self) -> bool {
        self.own_code() == Some(0)
    }

    /// The exit code, if it ended by itself with one.
    pub(in crate::primary) fn own_code(&self) -> Option<i32> {
        match (&self.kind, self.exit) {
            (EndKind::Died, Some(Exit::Code(code))) => Some(code),
            _ => None,
        }
    }
}
