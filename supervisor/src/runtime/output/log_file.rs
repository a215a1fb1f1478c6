//! One log file: opened without waiting for a reader, rotated by size and by age, with an index of
//! the times of its lines.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::spec::Rotation;
use config::spec::log_files::{compressed, rotated};

use crate::log_index::{self, IndexWriter};

/// One file that lines are written to.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    pub(super) file: Option<File>,
    /// When its lines were written.
    index: IndexWriter,
    size: u64,
    /// Bytes that could not be written.
    pub(super) dropped: u64,
    /// It is rotated. A fifo or a device is not.
    is_regular: bool,
    /// The app named it: its folder is made if it is missing.
    pub(super) is_own: bool,
    /// It takes the place of our stderr, so that what is written there is in it as well.
    is_stderr: bool,
    /// The housekeeping has not been told of the rotated files yet.
    pub(super) has_rotated: bool,
    /// What a person should know about it.
    pub(super) remark: Option<String>,
}

impl LogFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            index: IndexWriter::none(),
            size: 0,
            dropped: 0,
            is_regular: true,
            is_own: false,
            is_stderr: false,
            has_rotated: false,
            remark: None,
        }
    }

    /// The log that takes the place of our stderr.
    pub(super) fn stderr(path: PathBuf) -> Self {
        Self { is_stderr: true, ..Self::new(path) }
    }

    /// Opens the file.
    pub(super) fn open(&mut self) -> io::Result<()> {
        self.file = None;
        self.index = IndexWriter::none();
        let mode = self.is_stderr.then_some(0o640);
        let file = open(&self.path, self.is_own, mode)?;
        let data = file.metadata()?;
        (self.size, self.is_regular) = (data.len(), data.is_file());
        if data.file_type().is_fifo() {
            self.remark = Some(format!(
                "{} is a fifo: lines that its reader does not take at once are dropped, and it is \
                 not rotated",
                self.path.display()
            ));
        }
        if self.is_stderr {
            nix::unistd::dup2_stderr(&file)?;
        } else if self.is_regular {
            match IndexWriter::open(&self.path, &file) {
                Ok(index) => self.index = index,
                Err(error) => self.index_fails(&error),
            }
        }
        self.has_rotated |= self.is_regular && rotated(&self.path, 1).exists();
        self.file = Some(file);
        Ok(())
    }

    /// Writes whole lines, and rotates the file if it is full.
    pub(super) fn write(&mut self, lines: &[u8], limits: &Rotation) {
        let mut left = lines;
        while let Some(file) = self.file.as_mut().filter(|_| !left.is_empty()) {
            match file.write(left) {
                Ok(count) if count > 0 => left = &left[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The disk is full, or the reader of a fifo is behind: waiting would stop the loop.
                Ok(_) | Err(_) => break,
            }
        }
        self.dropped += left.len() as u64;
        self.size += (lines.len() - left.len()) as u64;
        if self.size > limits.max_size && self.is_regular {
            self.rotate(limits.keep.into());
        }
    }

    /// The next line is written at this time: rotates the file if it was begun too long before, and
    /// notes the time in the index.
    pub(super) fn note_time(&mut self, unix_ms: u64, limits: &Rotation) {
        let age = self.index.first_ms().map(|first| unix_ms.saturating_sub(first));
        let is_old = |age| !limits.every.is_zero() && Duration::from_millis(age) >= limits.every;
        if age.is_some_and(is_old) {
            self.rotate(limits.keep.into());
        }
        let Some(file) = self.file.as_ref().filter(|_| self.index.is_due(unix_ms)) else { return };
        // Another program may have truncated the file.
        if let Ok(data) = file.metadata() {
            self.size = data.len();
        }
        if let Err(error) = self.index.note(unix_ms, self.size) {
            self.index_fails(&error);
        }
    }

    /// The log goes on without times.
    fn index_fails(&mut self, error: &io::Error) {
        self.index = IndexWriter::none();
        self.remark = Some(format!(
            "cannot write {}, which has the times of the log lines: {error}; \"logs --since\" does \
             not find these lines",
            log_index::path(&self.path).display()
        ));
    }

    /// `x.log` becomes `x.log.1`, that one `x.log.2`, and so on; of more than `keep`, the oldest
    /// goes. A compressed file moves with its number.
    fn rotate(&mut self, keep: u32) {
        let is_free = |number: &u32| {
            let names = [rotated(&self.path, *number), compressed(&self.path, *number)];
            names.iter().all(|name| fs::symlink_metadata(name).is_err())
        };
        let free = (1..=keep).find(is_free).unwrap_or_else(|| {
            forget(&self.path, keep);
            keep
        });
        for number in (1..free).rev() {
            let _ = fs::rename(compressed(&self.path, number), compressed(&self.path, number + 1));
            move_aside(&rotated(&self.path, number), &rotated(&self.path, number + 1));
        }
        move_aside(&self.path, &rotated(&self.path, 1));
        self.has_rotated = true;
        // If the new file cannot be opened, lines are dropped and counted until a reopen.
        let _ = self.open();
    }
}

/// Opens a log to add to it, without waiting for a reader where it is a fifo. `is_own`: the app
/// named it, so its folder is made, and a link is followed only if it can be trusted.
pub(super) fn open(path: &Path, is_own: bool, mode: Option<u32>) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|_| is_own) {
        fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    let follows = !is_own || link_is_ours(path)?;
    let nofollow = if follows { 0 } else { libc::O_NOFOLLOW };
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | nofollow;
    options.append(true).create(true).custom_flags(flags);
    if let Some(mode) = mode {
        options.mode(mode);
    }
    options.open(path).map_err(|error| match error.raw_os_error() {
        Some(libc::ENXIO) => {
            io::Error::other(format!("{} is a fifo or a socket that nobody reads", path.display()))
        }
        _ => error,
    })
}

/// Removes the file that this log has become after so many rotations.
fn forget(log: &Path, number: u32) {
    let plain = rotated(log, number);
    for path in [compressed(log, number), log_index::path(&plain), plain] {
        let _ = fs::remove_file(path);
    }
}

/// Whether the path is a symbolic link that may be followed: one of root or of this user. Workers
/// of another user may write to the folder of their logs. A link of theirs could lead to any file,
/// which a primary of root would then write to.
fn link_is_ours(path: &Path) -> io::Result<bool> {
    let data = match fs::symlink_metadata(path) {
        Ok(data) if data.is_symlink() => data,
        _ => return Ok(false),
    };
    match data.uid() {
        0 => Ok(true),
        uid if uid == nix::unistd::geteuid().as_raw() => Ok(true),
        uid => Err(io::Error::other(format!(
            "{} is a symbolic link of another user (uid {uid}) and is not followed",
            path.display()
        ))),
    }
}

/// Renames a log with its index. What does not exist yet is no error.
fn move_aside(from: &Path, to: &Path) {
    // An index that stayed alone would be taken for that of no other file.
    let _ = fs::rename(log_index::path(from), log_index::path(to));
    let _ = fs::rename(from, to);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(path: PathBuf) -> LogFile {
        let mut file = LogFile::new(path);
        file.open().unwrap();
        file
    }

    #[test]
    fn rotated_files_keep_their_form_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let limits = Rotation { max_size: 3, keep: 3, ..Rotation::default() };
        let mut file = opened(at("out.log"));
        assert!(!file.has_rotated);
        for line in ["one\n", "two\n", "three\n"] {
            file.note_time(1000, &limits);
            file.write(line.as_bytes(), &limits);
        }
        assert!(file.has_rotated);
        // The second one is compressed.
        fs::rename(at("out.log.2"), at("out.log.2.gz")).unwrap();
        let read = |name: &str| fs::read_to_string(at(name)).ok();
        file.write(b"four\n", &limits);
        let texts = ["out.log.1", "out.log.2", "out.log.3.gz", "out.log.3"].map(read);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(texts, [text("four\n"), text("three\n"), text("two\n"), None]);
        file.write(b"five\n", &limits);
        let texts = ["out.log.2", "out.log.3", "out.log.3.gz", "out.log.4.gz"].map(read);
        assert_eq!(texts, [text("four\n"), text("three\n"), None, None]);
        let index = |name: &str| log_index::path(&at(name)).exists();
        assert!(index("out.log.2") && index("out.log.3") && !index("out.log.4"));
        assert!(opened(at("out.log")).has_rotated, "a successor looks after them");
    }

    #[test]
    fn an_old_file_is_rotated_when_its_next_line_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.log");
        let limits = Rotation { every: Duration::from_secs(1), ..Rotation::default() };
        let mut file = opened(path.clone());
        let write = |file: &mut LogFile, at, line: &[u8]| {
            file.note_time(at, &limits);
            file.write(line, &limits);
        };
        write(&mut file, 5000, b"one\n");
        write(&mut file, 5999, b"two\n");
        // A successor knows when the file was begun. A clock that was set back rotates nothing.
        let mut file = opened(path.clone());
        write(&mut file, 10, b"three\n");
        assert!(!file.has_rotated);
        write(&mut file, 6000, b"four\n");
        assert_eq!(fs::read(rotated(&path, 1)).unwrap(), b"one\ntwo\nthree\n");
        assert_eq!(fs::read(&path).unwrap(), b"four\n");
        let never = Rotation { every: Duration::ZERO, ..limits.clone() };
        file.note_time(1 << 50, &never);
        assert!(!rotated(&path, 2).exists());
    }

    #[test]
    fn a_link_of_another_user_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("out.log"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let mut file = LogFile { is_own: true, ..LogFile::new(link.clone()) };
        file.open().unwrap();
        file.write(b"one\n", &Rotation::default());
        assert_eq!(fs::read(&target).unwrap(), b"one\n");
        // Only root can give a link away.
        if std::os::unix::fs::lchown(&link, Some(12345), None).is_ok() {
            let why = file.open().unwrap_err().to_string();
            assert!(why.contains("a symbolic link of another user (uid 12345)"), "{why}");
            assert!(file.file.is_none());
        }
    }
}
