//! Why a request has no answer, or a bad one.

use std::fmt;

use serde_json::Value;

/// A request was refused or failed, or there is no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: String,
    reason: String,
    last_lines: Vec<String>,
}

impl Error {
    /// Why, as a word for programs: a `kind` of docs/api.md, such as `rolled-back`, or
    ///
    /// * `lost`: there is no primary, or it ended without a reply. The request may have been
    ///   carried out.
    /// * `not-understood`: the primary, perhaps of a later build, said something that this build
    ///   cannot read. [`App::ask_json`](crate::App::ask_json) can.
    /// * `timed-out`: also where the time limit of [`Ask`](crate::Ask) passed. The request may
    ///   still be carried out.
    ///
    /// A later build may send a word that is not listed there.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The last lines that a failed worker wrote to stderr, oldest first.
    pub fn last_lines(&self) -> &[String] {
        &self.last_lines
    }

    pub(crate) fn new(kind: &str, reason: String) -> Self {
        Self { kind: kind.to_owned(), reason, last_lines: Vec::new() }
    }

    pub(crate) fn lost(reason: String) -> Self {
        Self::new("lost", reason)
    }

    /// The failure that a primary told.
    pub(crate) fn told(reply: &Value) -> Self {
        let text = |key: &str| reply[key].as_str().unwrap_or_default().to_owned();
        let lines = reply["last_lines"].as_array().into_iter().flatten();
        let last_lines = lines.filter_map(Value::as_str).map(str::to_owned).collect();
        Self { kind: text("kind"), reason: text("reason"), last_lines }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Error {}
