//! Worker output becomes log lines: split, prefixed with the slot, written to files that never
//! grow without bound. A full disk or a slow terminal costs lines, which are counted, and never
//! blocks a worker.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::console::Console;
use super::stream::Stream;
use crate::limits::{LOG_FILE, LOG_FILES_KEPT, LOG_LINE, TAIL_LINE, TAIL_LINES};

/// Bytes of one pipe on their way to whole lines.
#[derive(Debug, Default)]
pub(crate) struct LineSplitter {
    partial: Vec<u8>,
}

impl LineSplitter {
    /// Takes bytes in, in any split, and gives each whole line (without its newline).
    pub(crate) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) {
        self.partial.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(at) = self.partial[start..].iter().position(|b| *b == b'\n') {
            for piece in pieces(&self.partial[start..start + at]) {
                line(piece);
            }
            start += at + 1;
        }
        while self.partial.len() - start >= LOG_LINE {
            line(&self.partial[start..start + LOG_LINE]);
            start += LOG_LINE;
        }
        self.partial.drain(..start);
    }

    /// Gives what is left when the pipe has ended.
    pub(crate) fn finish(&mut self, mut line: impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            line(&self.partial);
            self.partial = Vec::new();
        }
    }
}

/// An empty line is one piece; a long one is several.
fn pieces(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let empty = line.is_empty().then_some(line);
    empty.into_iter().chain(line.chunks(LOG_LINE))
}

/// The last lines of a worker's stderr.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    lines: VecDeque<String>,
}

impl Tail {
    /// Remembers a line and forgets the oldest.
    pub(crate) fn push(&mut self, line: &[u8]) {
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        let kept = &line[..line.len().min(TAIL_LINE)];
        self.lines.push_back(String::from_utf8_lossy(kept).trim_end().to_owned());
    }

    /// With these lines, oldest first.
    pub(crate) fn of(lines: &[String]) -> Self {
        let mut tail = Self::default();
        lines.iter().for_each(|line| tail.push(line.as_bytes()));
        tail
    }

    /// Oldest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}

/// Where an app's lines go.
#[derive(Debug)]
pub(crate) struct Logs {
    out: LogFile,
    err: LogFile,
    /// In the foreground the lines also go to our own stdout and stderr.
    pub(in crate::runtime) console: Console,
}

impl Logs {
    /// Opens the files of an app. Failing to is no reason not to run: lines are then dropped and
    /// counted, and the caller is told once.
    pub(crate) fn open(out: PathBuf, err: PathBuf, console: Console) -> (Self, io::Result<()>) {
        let mut logs = Self { out: LogFile::new(out), err: LogFile::new(err), console };
        let result = logs.reopen();
        (logs, result)
    }

    /// Closes and opens both files again.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        let out = self.out.open();
        let err = self.err.open();
        out.and(err)
    }

    /// Whether the folder of the files was removed.
    pub(crate) fn folder_is_gone(&self) -> bool {
        self.out.path.parent().is_some_and(|folder| !folder.exists())
    }

    /// Writes one chunk of whole lines, each already prefixed and ended.
    pub(crate) fn write(&mut self, stream: Stream, lines: &[u8]) {
        let file = match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        };
        file.write(lines);
        self.console.output(stream, lines);
    }

    /// The paths of the files.
    pub(crate) fn paths(&self) -> Vec<String> {
        [&self.out, &self.err].map(|file| file.path.display().to_string()).to_vec()
    }

    /// What could not be written since the last call, for people.
    pub(crate) fn take_complaints(&mut self) -> Vec<String> {
        let files = self.take_dropped() > 0;
        let console = self.console.take_dropped() > 0;
        let complaints = [
            (files, "log lines were dropped: the log files cannot be written"),
            (console, "lines were dropped: the reader of our output does not keep up"),
        ];
        complaints.into_iter().filter(|(is, _)| *is).map(|(_, what)| what.to_owned()).collect()
    }

    /// Bytes that could not be written since the last call.
    fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.out.dropped) + std::mem::take(&mut self.err.dropped)
    }
}

/// Adds `0 | ` before a line and a newline behind it.
pub(crate) fn prefix(slot: u16, line: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(slot.to_string().as_bytes());
    to.extend_from_slice(b" | ");
    to.extend_from_slice(line);
    to.push(b'\n');
}

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    dropped: u64,
}

impl LogFile {
    fn new(path: PathBuf) -> Self {
        Self { path, file: None, size: 0, dropped: 0 }
    }

    fn open(&mut self) -> io::Result<()> {
        self.file = None;
        let file = OpenOptions::new().append(true).create(true).open(&self.path)?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    fn write(&mut self, lines: &[u8]) {
        let written = match self.file.as_mut() {
            Some(file) => file.write_all(lines).is_ok(),
            None => false,
        };
        if !written {
            self.dropped += lines.len() as u64;
            return;
        }
        self.size += lines.len() as u64;
        if self.size > LOG_FILE {
            self.rotate();
        }
    }

    /// `x.log` becomes `x.log.1`, that one `x.log.2`, and the oldest goes.
    fn rotate(&mut self) {
        for number in (1..LOG_FILES_KEPT).rev() {
            // A number that does not exist yet is no error.
            let _ = fs::rename(aside(&self.path, number), aside(&self.path, number + 1));
        }
        let _ = fs::rename(&self.path, aside(&self.path, 1));
        // If the new file cannot be opened, lines are dropped and counted until a reopen.
        let _ = self.open();
    }
}

fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn silent() -> Console {
        Console::new("web".into(), None)
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_lines(text in "[a-c\n]{0,200}", cuts in prop::collection::vec(1usize..9, 0..40)) {
            let mut splitter = LineSplitter::default();
            let mut seen: Vec<String> = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                splitter.push(now, |line| seen.push(String::from_utf8_lossy(line).into_owned()));
                rest = later;
            }
            splitter.finish(|line| seen.push(String::from_utf8_lossy(line).into_owned()));
            prop_assert_eq!(seen, text.lines().map(str::to_owned).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut splitter = LineSplitter::default();
        let mut sizes = Vec::new();
        splitter.push(&vec![b'x'; LOG_LINE * 2 + 5], |line| sizes.push(line.len()));
        assert_eq!(sizes, [LOG_LINE, LOG_LINE]);
        splitter.push(b"\n", |line| sizes.push(line.len()));
        assert_eq!(sizes, [LOG_LINE, LOG_LINE, 5]);
    }

    #[test]
    fn the_tail_keeps_the_newest() {
        let mut tail = Tail::default();
        for number in 0..50 {
            tail.push(format!("line {number}").as_bytes());
        }
        assert_eq!(tail.lines().first().map(String::as_str), Some("line 30"));
        assert_eq!(tail.lines().last().map(String::as_str), Some("line 49"));
    }

    #[test]
    fn a_full_file_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.log");
        let (mut logs, opened) = Logs::open(path.clone(), folder.path().join("err.log"), silent());
        opened.unwrap();
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..51 {
            logs.write(Stream::Out, &chunk);
        }
        assert_eq!(fs::metadata(aside(&path, 1)).unwrap().len(), 51 << 20);
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        assert_eq!(logs.take_dropped(), 0);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let path = PathBuf::from("/nonexistent/out.log");
        let (mut logs, opened) = Logs::open(path.clone(), path, silent());
        assert!(opened.is_err());
        logs.write(Stream::Err, b"0 | lost\n");
        assert_eq!(logs.take_dropped(), 9);
    }
}
