//! What the primary writes to its own stdout and stderr: its notices, and in the foreground also
//! the output of the workers, as lines or as JSON.
//!
//! The reader (a terminal, a container's log driver) may stop reading, or the disk may be full. The
//! primary then drops lines and counts them; it neither ends nor waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use ipc::control::Notice;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::unistd::write;
use serde::{Deserialize, Serialize};

use super::json_line::{About, JsonLine, time};
use super::line_parts::LineParts;
use crate::base::stream::Stream;
use crate::sys::clock;
use crate::sys::poll::poll;

/// The form of what the foreground prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// `0 | what the worker wrote`
    Lines,
    /// An object a line: time, app, slot, stream, message.
    Json,
}

/// How many bytes are written at once: a writable pipe has room for that many.
const CHUNK: usize = 4096;
/// How long the primary waits, once, for a reader that is behind, before it drops lines.
const GRACE: Duration = Duration::from_millis(50);

/// Our stdout and stderr.
#[derive(Debug)]
pub(crate) struct Console {
    app: String,
    /// `None`: in the background, where the workers' output goes to files alone.
    format: Option<LogFormat>,
    out: Outlet,
    err: Outlet,
}

impl Console {
    pub(crate) fn new(app: String, format: Option<LogFormat>) -> Self {
        Self { app, format, out: Outlet::default(), err: Outlet::default() }
    }

    pub(in crate::runtime) fn app(&self) -> &str {
        &self.app
    }

    /// In the foreground: how worker output is shown.
    pub(in crate::runtime) fn format(&self) -> Option<LogFormat> {
        self.format
    }

    /// Whole lines of a worker, each begun with its slot.
    pub(in crate::runtime) fn output(&mut self, stream: Stream, lines: &[u8]) {
        let Some(format) = self.format else { return };
        let bytes = match format {
            LogFormat::Lines => None,
            LogFormat::Json => Some(self.as_json(stream, lines)),
        };
        let bytes = bytes.as_deref().unwrap_or(lines);
        match stream {
            Stream::Out => self.out.write(io::stdout().as_fd(), bytes),
            Stream::Err => self.err.write(io::stderr().as_fd(), bytes),
        }
    }

    /// Something that the primary says.
    pub(in crate::runtime) fn notice(&mut self, notice: &Notice) {
        let line = self.line(notice);
        self.err.write(io::stderr().as_fd(), line.as_bytes());
    }

    /// A notice as a whole line.
    pub(in crate::runtime) fn line(&self, notice: &Notice) -> String {
        let mut line = match self.format {
            Some(LogFormat::Json) => self.notice_as_json(notice),
            Some(LogFormat::Lines) | None => log_line(&self.app, notice),
        };
        line.push('\n');
        line
    }

    /// Why lines were dropped since the last call, if any were.
    pub(in crate::runtime) fn take_complaint(&mut self) -> Option<String> {
        let (out, err) = (self.out.take_complaint(), self.err.take_complaint());
        out.or(err)
    }

    fn as_json(&self, stream: Stream, lines: &[u8]) -> Vec<u8> {
        let time = time(clock::unix_ms());
        let stream = stream.word();
        let mut all = Vec::with_capacity(lines.len() * 2);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let LineParts { slot, continues, text } = LineParts::of(line);
            let message = &String::from_utf8_lossy(text);
            let (app, time) = (self.app.as_str(), Some(time.clone()));
            JsonLine { time, app, slot, stream, continues, about: None, message }.append(&mut all);
        }
        all
    }

    fn notice_as_json(&self, notice: &Notice) -> String {
        let line = JsonLine {
            time: Some(time(notice.unix_ms)),
            app: &self.app,
            slot: notice.slot,
            stream: "supervisor",
            continues: false,
            about: Some(About {
                event: notice.event,
                pid: notice.pid,
                generation: notice.generation,
                last_lines: &notice.last_lines,
            }),
            message: &notice.message,
        };
        serde_json::to_string(&line).unwrap_or_default()
    }
}

/// `2026-11-21T08:00:00Z web: slot 0: worker 12 is ready`
fn log_line(app: &str, notice: &Notice) -> String {
    let time = time(notice.unix_ms);
    let slot = notice.slot.map(|slot| format!(" slot {slot}:")).unwrap_or_default();
    let pid = notice.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    let mut line = format!("{time} {app}:{slot} {}{pid}", notice.message);
    for last in &notice.last_lines {
        line.push_str("\n  | ");
        line.push_str(last);
    }
    line
}

/// One of the two, and whether its reader keeps up.
#[derive(Debug, Default)]
struct Outlet {
    behind: bool,
    /// A line was cut in its middle: what comes next begins a new one.
    torn: bool,
    dropped: u64,
    /// Why the last write failed, if it was not for want of a reader.
    failed: Option<io::Error>,
}

impl Outlet {
    /// Writes whole lines, as far as somebody takes them.
    fn write(&mut self, to: BorrowedFd<'_>, lines: &[u8]) {
        let mut left = lines;
        while !left.is_empty() {
            if !self.has_room(to) {
                break;
            }
            if std::mem::take(&mut self.torn) && !matches!(write(to, b"\n"), Ok(1)) {
                break;
            }
            match write(to, &left[..left.len().min(CHUNK)]) {
                Ok(count) if count > 0 => left = &left[count..],
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) | Ok(_) => break,
                // Closed, full or gone: whatever it is, waiting does not help.
                Err(error) => {
                    self.failed = Some(error.into());
                    break;
                }
            }
        }
        let whole = left.is_empty() || left.len() == lines.len();
        let ended = lines[..lines.len() - left.len()].ends_with(b"\n");
        self.torn |= !whole && !ended;
        self.dropped += left.len() as u64;
    }

    fn take_complaint(&mut self) -> Option<String> {
        let (dropped, failed) = (std::mem::take(&mut self.dropped), self.failed.take());
        (dropped > 0).then(|| match failed {
            Some(error) => format!("lines were dropped: our output cannot be written: {error}"),
            None => "lines were dropped: the reader of our output does not keep up".to_owned(),
        })
    }

    fn has_room(&mut self, to: BorrowedFd<'_>) -> bool {
        // A reader that is behind has had its grace. It gets another once it has read something.
        let wait = if self.behind { Duration::ZERO } else { GRACE };
        let mut fds = [PollFd::new(to, PollFlags::POLLOUT)];
        // If a signal interrupts the call, the output counts as full this once.
        let ready = poll(&mut fds, Some(wait)).is_ok_and(|count| count > 0);
        self.behind = !ready;
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_reader_that_stops_costs_lines_and_no_time() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut outlet = Outlet::default();
        let line = [&[b'x'; 99][..], b"\n"].concat();
        let begun = std::time::Instant::now();
        let mut sent = 0;
        while outlet.dropped < 100_000 {
            outlet.write(writer.as_fd(), &line.repeat(100));
            sent += 10_000;
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let mut taken = vec![0; 8192];
        assert_eq!(reader.read(&mut taken).unwrap(), 8192);
        outlet.write(writer.as_fd(), b"again\n");
        let dropped = outlet.dropped;
        drop(writer);
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert!(rest.ends_with(b"\nagain\n"));
        let extra = taken.len() + rest.len() - (sent + 6 - usize::try_from(dropped).unwrap());
        assert!(extra <= 1, "what was not written is counted");
    }

    #[test]
    fn nobody_there_is_no_panic() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut outlet = Outlet::default();
        outlet.write(writer.as_fd(), b"line\n");
        assert_eq!(outlet.dropped, 5);
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        outlet.write(full.as_fd(), b"line\n");
        assert_eq!(outlet.dropped, 10);
        let complaint = outlet.take_complaint().unwrap();
        assert!(complaint.contains("No space left"), "no reader is to blame: {complaint}");
        assert_eq!(outlet.take_complaint(), None);
    }

    #[test]
    fn json_has_a_line_for_each() {
        let console = Console::new("web".into(), Some(LogFormat::Json));
        let bytes = console.as_json(Stream::Err, b"3 | one | two\n0 | \xff\n0 > more\n");
        let lines: Vec<serde_json::Value> = bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].get("continues"), None);
        assert_eq!((&lines[2]["continues"], &lines[2]["message"]), (&true.into(), &"more".into()));
        assert_eq!((&lines[0]["slot"], &lines[0]["message"]), (&3.into(), &"one | two".into()));
        assert_eq!((&lines[1]["app"], &lines[1]["stream"]), (&"web".into(), &"stderr".into()));
        assert_eq!(lines[1]["message"], "\u{fffd}");
    }
}
