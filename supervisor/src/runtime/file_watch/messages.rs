//! What the primary and the process that watches files say to each other.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What is to be watched. The first and only message to that process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The folder of the app. Other paths start here.
    pub(crate) folder: PathBuf,
    /// The folders and files. Empty: the folder of the app.
    pub(crate) paths: Vec<PathBuf>,
    /// The arguments of the app. If one of them is a file in a folder that a `.gitignore` leaves
    /// out, and `paths` is empty, that folder is watched as well: it has what the app runs.
    pub(crate) arguments: Vec<String>,
    /// What is left out, as lines of a `.gitignore` in `folder`.
    pub(crate) ignore: Vec<String>,
    /// Files that are left out, and folders with everything in them.
    pub(crate) leave_out: Vec<PathBuf>,
    /// Files that have changed since then count as changed, in milliseconds since 1970.
    pub(crate) since_ms: u64,
}

/// What that process has seen since the report before. The first one says that the watch begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The number of folders that are watched.
    pub(crate) folders: u32,
    /// The names of some files that have changed, from the folder of the app.
    pub(crate) named: Vec<String>,
    /// How many have changed beside these.
    pub(crate) more: u32,
    /// Why not everything is watched; a lower-case sentence.
    pub(crate) problem: Option<String>,
    /// All changes before this time have been reported; milliseconds since 1970.
    pub(crate) known_until_ms: u64,
}
