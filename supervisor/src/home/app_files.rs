//! The files of one primary: its socket, its lock and its record.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::{HomeError, MAX_SOCKET_PATH};
use crate::sys::file_id::FileId;

/// What a fifo in the place of one of our files does not do: stop who opens it.
pub(super) const NOT_WAITING: i32 = libc::O_NONBLOCK;

/// Where the files of one primary are. See [`super::Home::files`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AppFiles {
    socket: PathBuf,
    lock: PathBuf,
    record: PathBuf,
}

impl AppFiles {
    /// The files of the app `name` with this run folder and this record.
    pub(super) fn new(run: &Path, name: &str, record: PathBuf) -> Self {
        let file = |ending| run.join(format!("{name}.{ending}"));
        Self { socket: file("sock"), lock: file("lock"), record }
    }

    /// The path of the control socket. Fails if it is too long.
    pub(crate) fn socket(&self) -> Result<&Path, HomeError> {
        if self.socket.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(HomeError::TooLong(self.socket.clone()));
        }
        Ok(&self.socket)
    }

    /// The file that a primary holds a lock on (flock) as long as it runs.
    pub(crate) fn lock(&self) -> &Path {
        &self.lock
    }

    /// Whether one of the files exists.
    pub(crate) fn exist(&self) -> bool {
        [&self.socket, &self.lock, &self.record].iter().any(|path| path.exists())
    }

    /// Takes the lock, and holds it until the file is dropped. `None` if another process holds it.
    ///
    /// A cleanup removes the lock file. So a lock only counts if it is on the file that has the
    /// name now.
    pub(crate) fn take_lock(&self) -> io::Result<Option<File>> {
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .custom_flags(NOT_WAITING)
                .open(&self.lock)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // This ends, because another process must remove the file for each further turn.
            match fs::metadata(&self.lock) {
                Ok(now) if now.ino() == file.metadata()?.ino() => return Ok(Some(file)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the file with the name of the lock is this one.
    pub(crate) fn is_lock(&self, held: &File) -> bool {
        match (fs::metadata(&self.lock), held.metadata()) {
            (Ok(named), Ok(held)) => FileId::of(&named) == FileId::of(&held),
            _ => false,
        }
    }

    /// Removes the files of a dead primary. `_held` is the lock, which the caller must hold.
    pub(crate) fn remove(&self, _held: &File) -> Result<(), HomeError> {
        // The lock comes last: without it another process may create the others.
        for path in [&self.socket, &self.record, &self.lock] {
            match fs::remove_file(path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(HomeError::Io { what: "remove", path: path.clone(), source });
                }
                _ => {}
            }
        }
        Ok(())
    }
}
