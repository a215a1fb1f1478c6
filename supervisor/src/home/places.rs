//! Chooses one of several folders: a container may have a read-only root, no home directory, and a
//! user without a name. The primary and each command choose at different times, so the choice
//! depends on nothing that the primary itself changes.

use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// The first candidate that is usable. If none is, the very first one, so that the error that
/// follows names the usual folder.
pub(super) fn first_usable(candidates: &[PathBuf], usable: impl Fn(&Path) -> bool) -> PathBuf {
    let found = candidates.iter().find(|candidate| usable(candidate));
    found.or_else(|| candidates.first()).cloned().unwrap_or_default()
}

/// Whether this process can write to the folder, or create it if it does not exist.
pub(super) fn usable(folder: &Path) -> bool {
    let there = folder.ancestors().find(|ancestor| ancestor.exists());
    there.is_some_and(|there| {
        there.is_dir() && access(there, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_usable_if_it_exists_or_can_be_created() {
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
