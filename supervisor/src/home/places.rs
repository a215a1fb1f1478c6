//! Chooses the first of several folders that can be used. A container may have a read-only root, no
//! home directory, and a user without an entry in the user database.
//!
//! The primary and every command make the same choice at different times. So the choice depends on
//! nothing that the primary changes.

use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// The first folder that can be used. If none can, the very first, so that the error that follows
/// names the usual folder.
pub(super) fn first_usable(candidates: &[PathBuf], usable: impl Fn(&Path) -> bool) -> PathBuf {
    let found = candidates.iter().find(|candidate| usable(candidate));
    found.or_else(|| candidates.first()).cloned().unwrap_or_default()
}

/// Whether the folder can be written to, or created if it does not exist.
pub(super) fn usable(folder: &Path) -> bool {
    let existing = folder.ancestors().find(|ancestor| ancestor.exists());
    existing.is_some_and(|existing| {
        existing.is_dir() && access(existing, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_exists_or_can_be_created() {
        let dir = tempfile::tempdir().unwrap();
        assert!(usable(dir.path()));
        assert!(usable(&dir.path().join("not/yet")));
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(!usable(&dir.path().join("file/run")));
    }

    #[test]
    fn the_first_usable_folder_is_chosen() {
        let candidates = ["/a", "/b", "/c"].map(PathBuf::from);
        assert_eq!(first_usable(&candidates, |path| path != Path::new("/a")), Path::new("/b"));
        assert_eq!(first_usable(&candidates, |_| false), Path::new("/a"));
    }
}
