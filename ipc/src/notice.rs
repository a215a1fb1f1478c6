//! Constructors and names for the messages of the control socket.

use config::spec::Balance;

use crate::control::{BalanceStatus, FailureKind, Notice, NoticeKind, Reply, Status};

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

impl From<Balance> for BalanceStatus {
    fn from(balance: Balance) -> Self {
        Self::Known(balance)
    }
}

impl PartialEq<Balance> for BalanceStatus {
    fn eq(&self, other: &Balance) -> bool {
        *self == Self::Known(*other)
    }
}

impl FailureKind {
    /// All that this build knows.
    pub const KNOWN: [Self; 7] = [
        Self::Failed,
        Self::Usage,
        Self::RolledBack,
        Self::TimedOut,
        Self::NotPermitted,
        Self::Busy,
        Self::Ended,
    ];
}

impl Status {
    /// All that this build knows.
    pub const KNOWN: [Self; 9] = [
        Self::Starting,
        Self::Ready,
        Self::Degraded,
        Self::Reloading,
        Self::Stopping,
        Self::Stopped,
        Self::Errored,
        Self::Unresponsive,
        Self::Lost,
    ];

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
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bus::MetricKind;
    use crate::talk::Metric;
    use crate::worker_status::HealthVerdict;

    #[test]
    fn words_are_those_of_json() {
        for status in Status::KNOWN.into_iter().chain([Status::Unknown]) {
            assert_eq!(serde_json::to_value(status).unwrap(), status.word());
        }
    }
    #[test]
    fn words_of_a_later_build_are_no_errors() {
        let kind = |word: &str| serde_json::from_value::<FailureKind>(json!(word)).unwrap();
        assert_eq!((kind("eaten"), kind("busy")), (FailureKind::Unknown, FailureKind::Busy));
        let status = |word: &str| serde_json::from_value::<Status>(json!(word)).unwrap();
        assert_eq!((status("molting"), status("lost")), (Status::Unknown, Status::Lost));
        let verdict = serde_json::from_value::<HealthVerdict>(json!("ill")).unwrap();
        assert_eq!(verdict, HealthVerdict::Unknown);
        // The word is kept.
        for word in ["hash", "by-moon"] {
            let balance: BalanceStatus = serde_json::from_value(json!(word)).unwrap();
            assert_eq!(balance == Balance::Hash, word == "hash");
            assert_eq!(serde_json::to_value(balance).unwrap(), word);
        }
        let reply = json!({"reply": "metrics", "metrics": [
            {"name": "a", "kind": "spectrum", "value": {"deep": 1}},
            {"name": "b", "kind": "gauge", "value": 2.0},
        ]});
        let Reply::Metrics { metrics, .. } = serde_json::from_value(reply).unwrap() else {
            panic!("other metrics");
        };
        assert_eq!(metrics, [Metric::new("b", MetricKind::Gauge, 2.0)]);
    }
}
