//! Chooses the first of several folders that can be used. A container may have a read-only root, no
//! home directory, and a user without an entry in the user database.
//!
//! The primary and every command make the same choice at different times. So the choice depends on
//! nothing that the primary changes.

use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// Folders that every user can write to, even if the rest of the file system is read-only.
pub(super) const SHARED: [&str; 2] = ["/tmp", "/dev/shm"];

/// The first folder that can be used. If none can, the very first, so that the error that follows
/// names the usual folder.
pub(super) fn first_usable(candidates: &[PathBuf], usable: impl Fn(&Path) -> bool) -> PathBuf {
    let found = candidates.iter().find(|candidate| usable(candidate));
    found.or_else(|| candidates.first()).cloned().unwrap_or_default()
}

/// The folder directly in one of the shared ones that `folder` is, or is in.
pub(super) fn in_shared(folder: &Path) -> Option<PathBuf> {
    SHARED.iter().map(Path::new).find_map(|shared| {
        let first = folder.strip_prefix(shared).ok()?.components().next()?;
        Some(shared.join(first))
    })
}

/// Whether the folder can be written to, or created if it does not exist.
///
/// A folder that somebody else made at our place in a shared one counts as well. It is refused
/// later, and loudly: if we passed it over, its owner could hide apps by removing it again.
pub(super) fn usable(folder: &Path, is_ours: impl Fn(&Path) -> bool) -> bool {
    if in_shared(folder).is_some_and(|root| !is_ours(&root)) {
        return true;
    }
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
        assert!(usable(dir.path(), |_| true));
        assert!(usable(&dir.path().join("not/yet"), |_| true));
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(!usable(&dir.path().join("file/run"), |_| true));
    }

    #[test]
    fn a_folder_of_somebody_else_is_not_passed_over() {
        assert_eq!(
            in_shared(Path::new("/tmp/supervisor-7/state")),
            Some("/tmp/supervisor-7".into())
        );
        assert_eq!(in_shared(Path::new("/tmp")), None);
        assert_eq!(in_shared(Path::new("/run/user/7/tmp")), None);
        let taken = Path::new("/dev/shm/supervisor-none/state");
        assert!(usable(taken, |root| root != Path::new("/dev/shm/supervisor-none")));
    }

    #[test]
    fn the_first_usable_folder_is_chosen() {
        let candidates = ["/a", "/b", "/c"].map(PathBuf::from);
        assert_eq!(first_usable(&candidates, |path| path != Path::new("/a")), Path::new("/b"));
        assert_eq!(first_usable(&candidates, |_| false), Path::new("/a"));
    }
}
