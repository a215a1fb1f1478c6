//! What the primary and the process that probes say to each other.

use std::collections::BTreeMap;
use std::path::PathBuf;

use config::spec::StatusRange;
use serde::{Deserialize, Serialize};

/// One probe to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Question {
    /// The answer has the same.
    pub(crate) id: u64,
    /// How long it may take.
    pub(crate) timeout_ms: u64,
    pub(crate) ask: Ask,
}

/// What is asked. The first two come with a socket that is connecting to the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ask {
    Http {
        path: String,
        /// The address, as the request names it.
        host: String,
        status: StatusRange,
        body: Option<String>,
    },
    Tcp,
    Command {
        command: Vec<String>,
        cwd: PathBuf,
        env: BTreeMap<String, String>,
        /// The numbers of the user and the group, if they are not those of the primary.
        user: Option<(u32, u32)>,
    },
}

/// The result of one probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) id: u64,
    pub(crate) found: Found,
}

/// What a probe has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Found {
    Passed,
    /// A lower-case sentence about the worker.
    Failed(String),
    /// The probe could not be made.
    Unknown(String),
}
