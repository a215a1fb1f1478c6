//! How a command ends: the exit codes, and the reason that goes with each of the bad ones.

use std::process::ExitCode;

use ipc::control::FailureKind;

use crate::client::ClientError;
use crate::home::HomeError;

/// What the command's exit code says. Numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: done.
    Done,
    /// 1: it failed; the reason is on stderr.
    Failed,
    /// 2: the command line or the configuration is wrong. Nothing was touched.
    Usage,
    /// 3: no app has that name.
    NoSuchApp,
    /// 4: a reload failed and everything is as before.
    RolledBack,
    /// 5: it took too long.
    TimedOut,
    /// 6: this user may not.
    NotPermitted,
    /// What a primary in the foreground ended with.
    Primary(u8),
}

/// Why a command did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// A lower-case sentence.
    pub(crate) reason: String,
    /// What the failing program wrote last, oldest first.
    pub(crate) last_lines: Vec<String>,
}

impl Exit {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NoSuchApp => 3,
            Self::RolledBack => 4,
            Self::TimedOut => 5,
            Self::NotPermitted => 6,
            Self::Primary(code) => code,
        }
    }

    /// The worse of two: the higher number.
    pub(crate) fn or_worse(self, other: Self) -> Self {
        if other.number() > self.number() { other } else { self }
    }

    /// The word in `--json`; the same as on the control socket, where there is one.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed | Self::Primary(_) => "failed",
            Self::Usage => "usage",
            Self::NoSuchApp => "no-such-app",
            Self::RolledBack => "rolled-back",
            Self::TimedOut => "timed-out",
            Self::NotPermitted => "not-permitted",
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
            FailureKind::Failed => Self::Failed,
            FailureKind::Usage => Self::Usage,
            FailureKind::RolledBack => Self::RolledBack,
            FailureKind::TimedOut => Self::TimedOut,
            FailureKind::NotPermitted => Self::NotPermitted,
        }
    }
}

impl Failure {
    pub(crate) fn new(exit: Exit, reason: impl Into<String>) -> Self {
        Self { exit, reason: reason.into(), last_lines: Vec::new() }
    }

    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Self::new(Exit::Failed, reason)
    }

    pub(crate) fn usage(reason: impl Into<String>) -> Self {
        Self::new(Exit::Usage, reason)
    }

    /// `what` failed with an error of the system.
    pub(crate) fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::NotPermitted,
            _ => Exit::Failed,
        };
        Self::new(exit, format!("{what}: {error}"))
    }

    /// As it is printed: `supervisor: reason`, then what the program wrote, indented.
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
    fn numbers_are_the_documented_ones() {
        let all = [
            (Exit::Done, 0),
            (Exit::Failed, 1),
            (Exit::Usage, 2),
            (Exit::NoSuchApp, 3),
            (Exit::RolledBack, 4),
            (Exit::TimedOut, 5),
            (Exit::NotPermitted, 6),
            (Exit::Primary(7), 7),
        ];
        for (exit, number) in all {
            assert_eq!(exit.number(), number);
        }
        assert_eq!(Exit::Failed.or_worse(Exit::NoSuchApp), Exit::NoSuchApp);
        assert_eq!(Exit::RolledBack.or_worse(Exit::Done), Exit::RolledBack);
    }

    #[test]
    fn every_failure_has_its_number() {
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
    fn last_lines_are_indented() {
        let mut failure = Failure::failed("web failed");
        failure.last_lines = vec!["one".into(), "two".into()];
        assert_eq!(failure.to_text(), "supervisor: web failed\n  | one\n  | two\n");
    }
}
