//! Reads the lines that are added to a log file, through rotation and truncation.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use crate::cli::logs::segment::{self, Body, Segment};
use crate::sys::file_id::FileId;

/// Bytes of a line. A longer line is passed on in pieces.
const MAX_LINE: usize = 64 * 1024;

/// One followed file. It may not exist yet.
#[derive(Debug)]
pub(crate) struct Follower {
    path: PathBuf,
    open: Option<Open>,
    /// The beginning of a line that has no newline yet.
    partial: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    file: File,
    at: u64,
}

impl Follower {
    /// Opens nothing yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, open: None, partial: Vec::new() }
    }

    /// Continues behind the whole lines of these segments of the log, the newest of which comes
    /// first.
    pub(crate) fn behind(path: PathBuf, segments: &[Segment]) -> io::Result<Self> {
        let open = match segments.first() {
            Some(Segment { body: Body::Plain(file), length, .. }) => {
                Some(Open { file: file.try_clone()?, at: *length })
            }
            // A compressed file was rotated: nothing is added to it.
            Some(_) | None => None,
        };
        Ok(Self { path, open, partial: Vec::new() })
    }

    /// Passes on every line that was completed since the last call.
    pub(crate) fn more(&mut self, on_line: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.drain(on_line)?;
        let now = match fs::metadata(&self.path) {
            Ok(now) => now,
            // Rotated, and the new file does not exist yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let is_same = match &self.open {
            Some(open) => {
                let held = open.file.metadata()?;
                FileId::of(&held) == FileId::of(&now) && now.len() >= open.at
            }
            None => false,
        };
        if !is_same {
            // Lines that were added to the old file since it was read above.
            self.drain(on_line)?;
            self.flush_partial(on_line);
            self.open = segment::open(&self.path)?.map(|file| Open { file, at: 0 });
            self.drain(on_line)?;
        }
        Ok(())
    }

    /// Passes on the beginning of a line whose end can no longer come.
    fn flush_partial(&mut self, on_line: &mut dyn FnMut(&[u8])) {
        if !self.partial.is_empty() {
            on_line(&std::mem::take(&mut self.partial));
        }
    }

    /// Passes on the complete lines up to the end of the open file.
    fn drain(&mut self, on_line: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.file.metadata()?.len() < open.at {
            return Ok(());
        }
        open.file.seek(SeekFrom::Start(open.at))?;
        let mut bytes = [0; 16 * 1024];
        loop {
            let count = open.file.read(&mut bytes)?;
            if count == 0 {
                return Ok(());
            }
            open.at += count as u64;
            for piece in bytes[..count].split_inclusive(|byte| *byte == b'\n') {
                self.partial.extend_from_slice(piece);
                let is_complete = self.partial.last() == Some(&b'\n');
                if is_complete {
                    self.partial.pop();
                }
                if is_complete || self.partial.len() >= MAX_LINE {
                    on_line(&self.partial);
                    self.partial.clear();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::logs::line::Form;
    use std::io::Write;

    struct Case {
        _dir: tempfile::TempDir,
        path: PathBuf,
        follower: Follower,
    }

    impl Case {
        fn new(text: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("out.log");
            fs::write(&path, text).unwrap();
            Self { _dir: dir, follower: Follower::new(path.clone()), path }
        }

        fn append(&self, text: &str) {
            let mut file =
                fs::OpenOptions::new().append(true).create(true).open(&self.path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn more(&mut self) -> Vec<String> {
            let mut lines = Vec::new();
            let mut take = |line: &[u8]| lines.push(String::from_utf8(line.to_vec()).unwrap());
            self.follower.more(&mut take).unwrap();
            lines
        }
    }

    #[test]
    fn growth_and_half_lines() {
        let mut case = Case::new("a\nhalf");
        assert_eq!(case.more(), ["a"]);
        assert_eq!(case.more(), [""; 0]);
        case.append(" done\nnext\n");
        assert_eq!(case.more(), ["half done", "next"]);
    }

    #[test]
    fn an_open_file_is_continued() {
        let mut case = Case::new("a\n");
        let segments = segment::segments(&case.path, Form::Prefixed).unwrap();
        case.follower = Follower::behind(case.path.clone(), &segments).unwrap();
        case.append("b\n");
        fs::rename(&case.path, case.path.with_extension("1")).unwrap();
        assert_eq!(case.more(), ["b"], "there is no new file yet");
        case.append("c\n");
        assert_eq!(case.more(), ["c"]);
    }

    #[test]
    fn rotation_loses_nothing() {
        let mut case = Case::new("a\n");
        assert_eq!(case.more(), ["a"]);
        let held = case.path.clone();
        case.append("b\nc");
        fs::rename(&held, held.with_extension("1")).unwrap();
        assert_eq!(case.more(), ["b"]);
        case.append("d\n");
        assert_eq!(case.more(), ["c", "d"]);
        case.append("e\n");
        assert_eq!(case.more(), ["e"]);
    }

    #[test]
    fn truncation_begins_anew() {
        let mut case = Case::new("aaaa\nbbbb\n");
        assert_eq!(case.more(), ["aaaa", "bbbb"]);
        fs::write(&case.path, "c\n").unwrap();
        assert_eq!(case.more(), ["c"]);
        case.append("d\n");
        assert_eq!(case.more(), ["d"]);
    }

    #[test]
    fn a_file_may_come_later() {
        let mut case = Case::new("");
        fs::remove_file(&case.path).unwrap();
        assert_eq!(case.more(), [""; 0]);
        case.append("first\n");
        assert_eq!(case.more(), ["first"]);
    }

    #[test]
    fn a_line_without_end_comes_in_pieces() {
        let mut case = Case::new("");
        case.append(&"x".repeat(MAX_LINE + 10));
        assert_eq!(case.more().len(), 1);
        case.append("\n");
        assert_eq!(case.more().len(), 1);
    }
}
