//! The commands that listened on nothing when they ran last: an empty file for each, so that
//! primaries which write at the same time do not disturb each other.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use super::Home;

/// The most commands that are remembered. With more, all are forgotten: the next start of each
/// waits once.
const MAX: usize = 1024;

impl Home {
    /// Whether the command with this key is noted.
    pub(crate) fn is_quiet(&self, command: u64) -> bool {
        self.quiet_file(command).exists()
    }

    /// Notes the command with this key, or forgets it.
    pub(crate) fn note_quiet(&self, command: u64, quiet: bool) -> io::Result<()> {
        let file = self.quiet_file(command);
        if !quiet {
            return match fs::remove_file(file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            };
        }
        let folder = self.quiet_folder();
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        if fs::read_dir(&folder)?.count() >= MAX {
            fs::remove_dir_all(&folder)?;
            DirBuilder::new().mode(0o700).create(&folder)?;
        }
        OpenOptions::new().create(true).append(true).mode(0o600).open(file).map(drop)
    }

    fn quiet_folder(&self) -> PathBuf {
        self.state.join("quiet")
    }

    fn quiet_file(&self, command: u64) -> PathBuf {
        self.quiet_folder().join(format!("{command:016x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_noted_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        assert!(!home.is_quiet(7));
        home.note_quiet(7, false).unwrap();
        home.note_quiet(7, true).unwrap();
        home.note_quiet(7, true).unwrap();
        assert!(home.is_quiet(7) && !home.is_quiet(8));
        home.note_quiet(7, false).unwrap();
        assert!(!home.is_quiet(7));
        assert!(home.apps().unwrap().is_empty(), "no app is called like that");
    }

    #[test]
    fn what_is_noted_has_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        (0..=MAX as u64).for_each(|command| home.note_quiet(command, true).unwrap());
        assert!(home.is_quiet(MAX as u64) && !home.is_quiet(0));
        assert!(fs::read_dir(home.quiet_folder()).unwrap().count() <= MAX);
    }
}
