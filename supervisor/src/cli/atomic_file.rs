//! Files that are replaced whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Puts these bytes at `path`, on disk when this comes back. Whoever opens it meanwhile finds the
/// old file or the new one. `aside` is called in between, while the old one is still there.
pub(super) fn replace(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    aside: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let new = beside(path, ".", ".new");
    remove(&new)?;
    let put = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        aside()?;
        fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    let done = put();
    if done.is_err() {
        // Whatever went wrong is what is told; a leftover is removed by the next attempt, too.
        let _ = remove(&new);
    }
    done
}

/// In the same folder, with another name made of this one.
pub(super) fn beside(path: &Path, before: &str, after: &str) -> PathBuf {
    let mut name = OsString::from(before);
    name.push(path.file_name().unwrap_or_default());
    name.push(after);
    path.with_file_name(name)
}

/// Removes a file. That it is not there is no error.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
