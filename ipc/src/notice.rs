//! How what the control socket says is made and named, once for all who say it.

use crate::control::{FailureKind, Notice, NoticeKind, Reply, Status};

impl Notice {
    /// About the app as a whole. The time is filled in where it leaves the core.
    pub fn of_app(event: NoticeKind, message: String) -> Self {
        Self {
            unix_ms: 0,
            event,
            slot: None,
            worker: None,
            pid: None,
            generation: None,
            message,
            last_lines: Vec::new(),
        }
    }
}

impl Reply {
    /// Final: it was refused or it failed, and no worker said anything about it.
    pub fn failed(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self::Failed { kind, reason: reason.into(), last_lines: Vec::new() }
    }
}

impl Status {
    /// The word for it, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Reloading => "reloading",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Errored => "errored",
            Self::Lost => "lost",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_json() {
        for status in [
            Status::Starting,
            Status::Ready,
            Status::Degraded,
            Status::Reloading,
            Status::Stopping,
            Status::Stopped,
            Status::Errored,
            Status::Lost,
        ] {
            assert_eq!(serde_json::to_value(status).unwrap(), status.word());
        }
    }
}
