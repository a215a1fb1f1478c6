//! Whether changes of files reload the app.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Which files are watched: a change of one of them reloads the app. A spec from an older build may
/// lack some fields: they get the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct WatchSpec {
    /// The folders and files, from the folder of the app. Empty: that folder. `None`: no file is
    /// watched.
    pub paths: Option<Vec<PathBuf>>,
    /// What is left out, as lines of a `.gitignore` in the folder of the app.
    pub ignore: Vec<String>,
    /// How long no file must have changed before the reload begins. 200 ms.
    pub delay: Duration,
}

impl Default for WatchSpec {
    fn default() -> Self {
        Self { paths: None, ignore: Vec::new(), delay: Duration::from_millis(200) }
    }
}
