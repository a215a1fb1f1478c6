//! The files that `startup` writes for one app, and how they are taken back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::places::write_file;
use crate::cli::exit::Failure;

/// Files that were written, each with what it held before.
#[derive(Debug, Default)]
pub(crate) struct Installation {
    written: Vec<(PathBuf, Option<Vec<u8>>, u32)>,
}

impl Installation {
    /// Replaces a file, with the permissions `mode`.
    pub(super) fn write(&mut self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
        let before = match fs::read(path) {
            Ok(before) => Some(before),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(Failure::io(format_args!("cannot read {}", path.display()), &error));
            }
        };
        write_file(path, bytes, mode)?;
        self.written.push((path.to_owned(), before, mode));
        Ok(())
    }

    /// Whether a file was there before.
    pub(crate) fn replaced(&self) -> bool {
        self.written.iter().any(|(_, before, _)| before.is_some())
    }

    /// Puts every file back as it was. Tries all of them, and fails with the first error.
    pub(crate) fn undo(self) -> Result<(), Failure> {
        let mut result = Ok(());
        for (path, before, mode) in self.written {
            let undone = match before {
                Some(before) => write_file(&path, &before, mode),
                None => fs::remove_file(&path).map_err(|error| {
                    Failure::io(format_args!("cannot remove {}", path.display()), &error)
                }),
            };
            result = result.and(undone);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("deep/new"));
        fs::write(&old, "before").unwrap();
        let mut installation = Installation::default();
        installation.write(&new, b"x", 0o600).unwrap();
        assert!(!installation.replaced());
        installation.write(&old, b"y", 0o644).unwrap();
        assert!(installation.replaced());
        assert_eq!(fs::read(&old).unwrap(), b"y");
        installation.undo().unwrap();
        assert_eq!(fs::read(&old).unwrap(), b"before");
        assert!(!new.exists());
    }
}
