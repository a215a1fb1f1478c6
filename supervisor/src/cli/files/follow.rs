//! Reads the last lines of a log file, and then the lines that are added to it, through rotation
//! and truncation.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

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

    /// The last `count` complete lines. After this, [`Follower::more`] passes on the lines that
    /// follow.
    pub(crate) fn last(&mut self, count: usize) -> io::Result<Vec<Vec<u8>>> {
        let Some(file) = open(&self.path)? else { return Ok(Vec::new()) };
        let length = file.metadata()?.len();
        let start = start_of_last(&file, length, count)?;
        self.open = Some(Open { file, at: start });
        let mut lines = Vec::new();
        self.drain(&mut |line| lines.push(line.to_vec()))?;
        // The file may have grown since its length was read.
        lines.drain(..lines.len().saturating_sub(count));
        Ok(lines)
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
            self.open = open(&self.path)?.map(|file| Open { file, at: 0 });
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

fn open(path: &PathBuf) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The offset at which the last `count` lines of the first `length` bytes begin. Reads backwards.
fn start_of_last(mut file: &File, length: u64, count: usize) -> io::Result<u64> {
    let mut bytes = vec![0; 16 * 1024];
    let mut end = length;
    let mut newlines = 0;
    while end > 0 {
        let size = end.min(bytes.len() as u64);
        let start = end - size;
        let block = &mut bytes[..usize::try_from(size).unwrap_or(0)];
        file.seek(SeekFrom::Start(start))?;
        match file.read_exact(block) {
            Ok(()) => {}
            // Truncated since its length was read: begin at the start.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
            Err(error) => return Err(error),
        }
        for (at, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            newlines += 1;
            // The first newline from the end terminates the last line.
            if newlines > count {
                return Ok(start + at as u64 + 1);
            }
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
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

        fn last(&mut self, count: usize) -> Vec<String> {
            let lines = self.follower.last(count).unwrap();
            lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
        }

        fn more(&mut self) -> Vec<String> {
            let mut lines = Vec::new();
            let mut take = |line: &[u8]| lines.push(String::from_utf8(line.to_vec()).unwrap());
            self.follower.more(&mut take).unwrap();
            lines
        }
    }

    #[test]
    fn the_last_lines() {
        assert_eq!(Case::new("a\nb\nc\n").last(2), ["b", "c"]);
        assert_eq!(Case::new("a\nb\nc\n").last(9), ["a", "b", "c"]);
        assert_eq!(Case::new("a\nb\nc\n").last(0), [""; 0]);
        assert_eq!(Case::new("").last(3), [""; 0]);
        let long: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
        assert_eq!(Case::new(&long).last(2), ["line 19998", "line 19999"]);
        assert_eq!(Case::new(&long).last(19_999).len(), 19_999);
    }

    #[test]
    fn growth_and_half_lines() {
        let mut case = Case::new("a\nhalf");
        assert_eq!(case.last(5), ["a"]);
        assert_eq!(case.more(), [""; 0]);
        case.append(" done\nnext\n");
        assert_eq!(case.more(), ["half done", "next"]);
    }

    #[test]
    fn rotation_loses_nothing() {
        let mut case = Case::new("a\n");
        assert_eq!(case.last(5), ["a"]);
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
        assert_eq!(case.last(1), ["bbbb"]);
        fs::write(&case.path, "c\n").unwrap();
        assert_eq!(case.more(), ["c"]);
        case.append("d\n");
        assert_eq!(case.more(), ["d"]);
    }

    #[test]
    fn a_file_may_come_later() {
        let mut case = Case::new("");
        fs::remove_file(&case.path).unwrap();
        assert_eq!(case.last(5), [""; 0]);
        assert_eq!(case.more(), [""; 0]);
        case.append("first\n");
        assert_eq!(case.more(), ["first"]);
    }

    #[test]
    fn a_line_without_end_comes_in_pieces() {
        let mut case = Case::new("");
        case.append(&"x".repeat(MAX_LINE + 10));
        assert_eq!(case.last(5).len(), 1);
        case.append("\n");
        assert_eq!(case.more().len(), 1);
    }
}
