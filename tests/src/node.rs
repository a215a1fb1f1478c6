//! The versions of Node to test with: the one of this system, those that SUPERVISOR_NODES names
//! (paths with colons between them), and those that the unit tests of the supervisor fetched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixtures;

/// Paths of Node, by the version.
pub type Nodes = BTreeMap<String, String>;

/// The newest. Empty, and a line on stderr, if there is none.
pub fn newest() -> Nodes {
    all().into_iter().next_back().into_iter().collect()
}

/// All but the newest.
pub fn older() -> Nodes {
    let mut nodes = all();
    nodes.pop_last();
    nodes
}

/// Each. Empty, and a line on stderr, if there is none.
pub fn all() -> Nodes {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/node");
    let fetched = std::fs::read_dir(fetched).into_iter().flatten().flatten();
    let named = std::env::var("SUPERVISOR_NODES").unwrap_or_default();
    fixtures::need("node")
        .map(PathBuf::from)
        .into_iter()
        .chain(named.split(':').map(PathBuf::from))
        .chain(fetched.map(|version| version.path().join("node_modules/.bin/node")))
        .filter(|node| node.is_file())
        .filter_map(|node| Some((version(&node)?, node.display().to_string())))
        .collect()
}

/// The version of this Node. `None` if it does not run here.
fn version(node: &Path) -> Option<String> {
    let output = Command::new(node).arg("--version").output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
