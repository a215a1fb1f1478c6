//! Replaces a file atomically: a reader finds the old file or the new one, never a part.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Replaces the file at `path` by `bytes`, with the permissions `mode`. When this returns, the new
/// file is on disk. `before_rename` runs when the new file is written and the old one still there;
/// if it fails, the old file stays.
pub(crate) fn replace(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    before_rename: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let new = beside(path, ".", ".new");
    remove(&new)?;
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        before_rename()?;
        fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    let written = write();
    if written.is_err() {
        // The caller needs the first error. The next attempt removes the new file as well.
        let _ = remove(&new);
    }
    written
}

/// A path in the folder of `path`, with `before` and `after` around the name of the file.
pub(crate) fn beside(path: &Path, before: &str, after: &str) -> PathBuf {
    let mut name = OsString::from(before);
    name.push(path.file_name().unwrap_or_default());
    name.push(after);
    path.with_file_name(name)
}

/// Removes a file, if it exists.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
