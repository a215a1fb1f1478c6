//! How a process ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Exit {
    /// The status it passed to `exit`.
    Code(i32),
    /// The signal that ended it.
    Signal(i32),
    /// The process that could have reaped it died first, so the exit is not known.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => match config::signal::name(*number) {
                Some(name) => write!(f, "signal {name}"),
                None => write!(f, "signal {number}"),
            },
            Self::Unknown => f.write_str("an unknown exit"),
        }
    }
}
