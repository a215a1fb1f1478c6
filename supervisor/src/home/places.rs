//! Which of several places can be used: a container may have a read-only root, no home and a user
//! that nobody knows. The same question is asked by the primary and by each command, at different
//! times, so the answer depends on nothing that the primary itself changes.

use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// The first of these that can be used; the first at all if none can, so that the refusal which
/// follows names the usual place.
pub(super) fn first_usable(candidates: &[PathBuf], usable: impl Fn(&Path) -> bool) -> PathBuf {
    let found = candidates.iter().find(|candidate| usable(candidate));
    found.or_else(|| candidates.first()).cloned().unwrap_or_default()
}

/// Whether this folder can be written, or be made where it is not there.
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
    fn a_place_is_there_or_can_be_made() {
        let dir = tempfile::tempdir().unwrap();
        assert!(usable(dir.path()));
        assert!(usable(&dir.path().join("not/yet")));
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(!usable(&dir.path().join("file/run")));
    }

    #[test]
    fn the_first_usable_one_counts() {
        let candidates = ["/a", "/b", "/c"].map(PathBuf::from);
        assert_eq!(first_usable(&candidates, |path| path != Path::new("/a")), Path::new("/b"));
        assert_eq!(first_usable(&candidates, |_| false), Path::new("/a"));
    }
}
