//! The events of an app on disk, so that they are there after the death of the primary and after
//! the app is deleted: one notice a line, as JSON.
//!
//! What is kept has a bound: when the file has [`EVENTS`] events, it becomes `.1` and replaces the
//! one before. So at least that many of the last events are there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use config::spec::log_files::rotated;
use ipc::control::{Notice, NoticeKind};

/// Events of a file.
const EVENTS: usize = 1000;
/// Bytes of a file. An event with the last lines of a worker has up to 10 KB.
const SIZE: u64 = 4 * 1024 * 1024;

/// The file that is written now.
#[derive(Debug)]
pub(super) struct EventLog {
    path: PathBuf,
    file: Option<File>,
    events: usize,
    size: u64,
}

impl EventLog {
    /// Opens nothing yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, events: 0, size: 0 }
    }

    /// Opens the file, or opens it again.
    pub(super) fn open(&mut self) -> io::Result<()> {
        self.file = None;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o640);
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW);
        let mut file = options.open(&self.path)?;
        let data = file.metadata()?;
        if !data.is_file() {
            return Err(io::Error::other(format!("{} is no file", self.path.display())));
        }
        let is_whole = self.count(&file)?;
        self.size = data.len();
        if !is_whole {
            // A primary that died, or a full disk, left a line without its end.
            file.write_all(b"\n")?;
        }
        self.file = Some(file);
        Ok(())
    }

    /// Counts the events of the file. Returns whether the last line has its end.
    fn count(&mut self, file: &File) -> io::Result<bool> {
        let mut reader = BufReader::new(file.try_clone()?);
        let mut line = Vec::new();
        let mut is_whole = true;
        self.events = 0;
        while self.events <= EVENTS {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            self.events += 1;
            is_whole = line.ends_with(b"\n");
        }
        Ok(is_whole)
    }

    /// Keeps an event. What programs send each other is no event of the app. An event that cannot
    /// be written is still in the primary's log.
    pub(super) fn keep(&mut self, notice: &Notice) {
        if notice.event == NoticeKind::WorkerMessage {
            return;
        }
        if self.events >= EVENTS || self.size >= SIZE {
            let _ = fs::rename(&self.path, rotated(&self.path, 1));
            let _ = self.open();
        }
        let Some(file) = self.file.as_mut() else { return };
        let Ok(mut line) = serde_json::to_vec(notice) else { return };
        line.push(b'\n');
        if file.write_all(&line).is_ok() {
            self.events += 1;
            self.size += line.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(number: usize) -> Notice {
        Notice::of_app(NoticeKind::Warning, format!("event {number}"))
    }

    #[test]
    fn the_last_events_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        let mut log = EventLog::new(path.clone());
        log.open().unwrap();
        (0..EVENTS).for_each(|number| log.keep(&notice(number)));
        log.keep(&Notice::of_app(NoticeKind::WorkerMessage, "1".into()));
        assert_eq!(read("events.jsonl").lines().count(), EVENTS);
        // A successor counts on.
        let mut log = EventLog::new(path.clone());
        log.open().unwrap();
        (EVENTS..2 * EVENTS + 1).for_each(|number| log.keep(&notice(number)));
        assert_eq!(read("events.jsonl").lines().count(), 1);
        let old = read("events.jsonl.1");
        assert_eq!(old.lines().count(), EVENTS);
        assert!(old.lines().next().unwrap().contains("event 1000"));
    }

    #[test]
    fn a_torn_line_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        fs::write(&path, "{\"half").unwrap();
        let mut log = EventLog::new(path.clone());
        log.open().unwrap();
        log.keep(&notice(1));
        let text = fs::read_to_string(&path).unwrap();
        assert!(serde_json::from_str::<Notice>(text.lines().last().unwrap()).is_ok(), "{text}");
    }

    #[test]
    fn long_events_have_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut log = EventLog::new(path.clone());
        log.open().unwrap();
        let long = Notice { last_lines: vec!["x".repeat(500); 20], ..notice(0) };
        (0..900).for_each(|_| log.keep(&long));
        assert!(fs::metadata(&path).unwrap().len() <= SIZE + 11_000);
    }
}
