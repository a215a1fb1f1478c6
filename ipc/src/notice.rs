//! Constructors and names for the messages of the control socket.

use crate::control::{FailureKind, Notice, NoticeKind, Reply, Status};

impl Notice {
    /// A notice about the app as a whole. The runtime fills in the time before it sends the notice.
    pub fn of_app(event: NoticeKind, message: String) -> Self {
        Self {
            unix_ms: 0,
            event,
            slot: None,
            worker: None,
            pid: None,
            generation: None,
            exit_code: None,
            message,
            last_lines: Vec::new(),
        }
    }
}

impl Reply {
    /// A final success, on the way to which nothing was cut.
    pub fn done(message: impl Into<String>) -> Self {
        Self::Done { message: message.into(), cut: 0 }
    }

    /// A final refusal or failure without a worker's stderr.
    pub fn failed(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self::Failed { kind, reason: reason.into(), last_lines: Vec::new() }
    }
}

impl Status {
    /// The name of this status in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Reloading => "reloading",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Errored => "errored",
            Self::Unresponsive => "unresponsive",
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
            Status::Unresponsive,
            Status::Lost,
        ] {
            assert_eq!(serde_json::to_value(status).unwrap(), status.word());
        }
    }
}
