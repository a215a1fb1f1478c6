//! How a command ends: its exit code, and the reason for every code but 0.

use std::process::ExitCode;

use ipc::control::{FailureKind, Reply};

use crate::client::ClientError;
use crate::home::HomeError;

/// The exit code of a command. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: the command succeeded.
    Done,
    /// 1: the command failed; the reason is on stderr.
    Failed,
    /// 2: the command line or the configuration is wrong. Nothing was changed.
    Usage,
    /// 3: no app has that name.
    NoSuchApp,
    /// 4: a reload failed, and the old workers serve as before.
    RolledBack,
    /// 5: a time limit passed.
    TimedOut,
    /// 6: this user lacks the permission.
    NotPermitted,
    /// 10: `plan` found something to do.
    Changes,
    /// The exit code of a process of ours that did the work: a primary in the foreground, a trial.
    Primary(u8),
}

/// Why a command did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// A lower-case sentence.
    pub(crate) reason: String,
    /// The last lines that the failing program wrote, oldest first.
    pub(crate) last_lines: Vec<String>,
}

impl Exit {
    /// The exit code of the process.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NoSuchApp => 3,
            Self::RolledBack => 4,
            Self::TimedOut => 5,
            Self::NotPermitted => 6,
            Self::Changes => 10,
            Self::Primary(code) => code,
        }
    }

    /// The worse of two: the higher number.
    pub(crate) fn or_worse(self, other: Self) -> Self {
        if other.number() > self.number() { other } else { self }
    }

    /// The word in `--json`. Where the control socket has a word for the same, it is that one.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed | Self::Primary(_) => "failed",
            Self::Usage => "usage",
            Self::NoSuchApp => "no-such-app",
            Self::RolledBack => "rolled-back",
            Self::TimedOut => "timed-out",
            Self::NotPermitted => "not-permitted",
            Self::Changes => "changes",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

impl From<FailureKind> for Exit {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Failed | FailureKind::Ended | FailureKind::Unknown => Self::Failed,
            FailureKind::Usage => Self::Usage,
            FailureKind::RolledBack => Self::RolledBack,
            FailureKind::TimedOut | FailureKind::Busy => Self::TimedOut,
            FailureKind::NotPermitted => Self::NotPermitted,
        }
    }
}

impl Failure {
    /// A failure without lines of a program.
    pub(crate) fn new(exit: Exit, reason: impl Into<String>) -> Self {
        Self { exit, reason: reason.into(), last_lines: Vec::new() }
    }

    /// A failure with exit code 1.
    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Self::new(Exit::Failed, reason)
    }

    /// A failure with exit code 2.
    pub(crate) fn usage(reason: impl Into<String>) -> Self {
        Self::new(Exit::Usage, reason)
    }

    /// A system call failed while the command did `what` ("cannot open /x").
    pub(crate) fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::NotPermitted,
            _ => Exit::Failed,
        };
        Self::new(exit, format!("{what}: {error}"))
    }

    /// A primary refused a request of the command. The reason names the app `name` once.
    pub(crate) fn refused(
        name: &str,
        kind: FailureKind,
        reason: &str,
        last_lines: Vec<String>,
    ) -> Self {
        let rest = reason.strip_prefix(name);
        let named = rest.is_some_and(|rest| rest.starts_with([' ', ':', ',', '\'']));
        let reason = if named { reason.to_owned() } else { format!("{name}: {reason}") };
        Self { exit: kind.into(), reason, last_lines }
    }

    /// The reply of a primary, where it is not the kind of reply that the request has.
    pub(crate) fn unexpected_reply(name: &str, reply: Reply) -> Self {
        match reply {
            Reply::Failed { kind, reason, last_lines } => {
                Self::refused(name, kind, &reason, last_lines)
            }
            Reply::Notice(_)
            | Reply::Done { .. }
            | Reply::Status(_)
            | Reply::Spec(_)
            | Reply::Answers { .. }
            | Reply::Metrics { .. } => Self::failed(format!(
                "the primary of {name} sent a reply that does not belong to the request"
            )),
        }
    }

    /// The text on stderr: `supervisor: reason`, then the last lines of the program, indented.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("supervisor: {}\n", self.reason);
        for line in &self.last_lines {
            text.push_str("  | ");
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match error {
            ClientError::Home(inner) => return inner.into(),
            ClientError::NoSuchApp(_) => Exit::NoSuchApp,
            ClientError::NotPermitted { .. } => Exit::NotPermitted,
            ClientError::TimedOut { .. } => Exit::TimedOut,
            ClientError::NobodyListens { .. }
            | ClientError::Io { .. }
            | ClientError::Ended { .. }
            | ClientError::Malformed { .. } => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Self {
        let exit = match &error {
            HomeError::TooLong(_) => Exit::Usage,
            HomeError::NotOurs { .. } => Exit::NotPermitted,
            HomeError::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::PermissionDenied => Exit::NotPermitted,
                _ => Exit::Failed,
            },
        };
        Self::new(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let all = [
            (Exit::Done, 0),
            (Exit::Failed, 1),
            (Exit::Usage, 2),
            (Exit::NoSuchApp, 3),
            (Exit::RolledBack, 4),
            (Exit::TimedOut, 5),
            (Exit::NotPermitted, 6),
            (Exit::Changes, 10),
            (Exit::Primary(7), 7),
        ];
        for (exit, number) in all {
            assert_eq!(exit.number(), number);
        }
        assert_eq!(Exit::Failed.or_worse(Exit::NoSuchApp), Exit::NoSuchApp);
        assert_eq!(Exit::RolledBack.or_worse(Exit::Done), Exit::RolledBack);
    }

    #[test]
    fn every_failure_has_an_exit_code() {
        for (kind, number) in [
            (FailureKind::Failed, 1),
            (FailureKind::Usage, 2),
            (FailureKind::RolledBack, 4),
            (FailureKind::TimedOut, 5),
            (FailureKind::NotPermitted, 6),
        ] {
            assert_eq!(Exit::from(kind).number(), number);
            let word = serde_json::to_value(kind).unwrap();
            assert_eq!(word, Exit::from(kind).word());
        }
        let name = || "web".to_owned();
        let denied = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let exit = |error: ClientError| Failure::from(error).exit.number();
        assert_eq!(exit(ClientError::NoSuchApp(name())), 3);
        assert_eq!(exit(ClientError::TimedOut { name: name(), after: Duration::ZERO }), 5);
        let path = || "/x".into();
        assert_eq!(
            exit(ClientError::NotPermitted { name: name(), path: path(), source: denied() }),
            6
        );
        assert_eq!(exit(ClientError::Ended { name: name(), log: path() }), 1);
        let home = HomeError::Io { what: "make the folder", path: path(), source: denied() };
        assert_eq!(exit(home.into()), 6);
        assert_eq!(exit(HomeError::TooLong(path()).into()), 2);
    }

    #[test]
    fn a_refusal_names_its_app_once() {
        let reason = |text| Failure::refused("web", FailureKind::Failed, text, Vec::new()).reason;
        assert_eq!(reason("slot 0 failed"), "web: slot 0 failed");
        assert_eq!(reason("web: slot 0 failed"), "web: slot 0 failed");
        assert_eq!(reason("web is stopped"), "web is stopped");
        assert_eq!(reason("website is down"), "web: website is down");
    }

    #[test]
    fn last_lines_are_indented() {
        let mut failure = Failure::failed("web failed");
        failure.last_lines = vec!["one".into(), "two".into()];
        assert_eq!(failure.to_text(), "supervisor: web failed\n  | one\n  | two\n");
    }
}
