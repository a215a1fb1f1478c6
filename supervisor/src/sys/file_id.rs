//! A file that is known whatever its name.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A file, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file that this is the metadata of.
    pub(crate) fn of(data: &Metadata) -> Self {
        Self { device: data.dev(), inode: data.ino() }
    }

    /// The file that has this path, which may be a symlink; `None` if there is none.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        Some(Self::of(&fs::symlink_metadata(path).ok()?))
    }
}
