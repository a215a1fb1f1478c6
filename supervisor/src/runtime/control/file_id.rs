//! A file that is known whatever its name.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A file, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file that has this path; `None` if there is none.
    pub(in crate::runtime) fn at(path: &Path) -> Option<Self> {
        let data = std::fs::symlink_metadata(path).ok()?;
        Some(Self { device: data.dev(), inode: data.ino() })
    }
}
