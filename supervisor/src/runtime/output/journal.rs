//! The journal of systemd, by its native protocol: a datagram for each line, with fields. The
//! primary never waits for the journal: it drops and counts lines that the journal does not take at
//! once.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use super::line_parts::{LineParts, piece};
use crate::base::stream::Stream;

/// Where the journal listens (systemd-journald.service(8)).
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";
/// Bytes of a line that one entry has, so that every entry fits into a datagram. The rest of a line
/// is in further entries, which have `SUPERVISOR_CONTINUES=1`.
const MOST: usize = 48 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    app: String,
    socket: Option<UnixDatagram>,
    dropped: u64,
    /// Why lines could not be sent.
    failed: Option<io::Error>,
}

impl Journal {
    /// Connects when there is something to write.
    pub(super) fn new(path: PathBuf, app: String) -> Self {
        Self { path, app, socket: None, dropped: 0, failed: None }
    }

    /// Writes whole lines of a worker, each begun with its slot.
    pub(super) fn write(&mut self, stream: Stream, lines: &[u8]) {
        let mut lines = lines.split_inclusive(|byte| *byte == b'\n');
        while let Some(line) = lines.next() {
            if let Err(error) = self.write_line(stream, LineParts::of(line)) {
                // The others would fare no better.
                self.dropped += 1 + lines.count() as u64;
                self.failed = Some(error);
                return;
            }
        }
    }

    fn write_line(&mut self, stream: Stream, parts: LineParts<'_>) -> io::Result<()> {
        let mut continues = parts.continues;
        let mut rest = parts.text;
        loop {
            let count = if rest.len() > MOST { piece(rest, MOST) } else { rest.len() };
            let (text, later) = rest.split_at(count);
            self.send(&entry(&self.app, stream, LineParts { text, continues, ..parts }))?;
            (rest, continues) = (later, true);
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    fn send(&mut self, entry: &[u8]) -> io::Result<()> {
        if let Some(socket) = &self.socket {
            match socket.send(entry) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(error),
                // The journal may have been started again, with another socket.
                Err(_) => self.socket = None,
            }
        }
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(&self.path)?;
        socket.send(entry)?;
        self.socket = Some(socket);
        Ok(())
    }

    /// Why lines were dropped since the last call, if any were.
    pub(super) fn take_complaint(&mut self) -> Option<String> {
        let (dropped, failed) = (std::mem::take(&mut self.dropped), self.failed.take());
        (dropped > 0).then(|| match failed {
            Some(error) if error.kind() == ErrorKind::WouldBlock => {
                "log lines were dropped: the journal does not keep up".to_owned()
            }
            Some(error) => {
                let path = self.path.display();
                format!("log lines were dropped: cannot reach the journal at {path}: {error}")
            }
            None => "log lines were dropped".to_owned(),
        })
    }
}

/// The fields of an entry (JOURNAL_NATIVE_PROTOCOL). No value has a newline.
fn entry(app: &str, stream: Stream, parts: LineParts<'_>) -> Vec<u8> {
    // "err" and "info", as other tools do it.
    let priority = match stream {
        Stream::Out => 6,
        Stream::Err => 3,
    };
    let mut all = format!(
        "PRIORITY={priority}\nSYSLOG_IDENTIFIER={app}\nSUPERVISOR_APP={app}\nSUPERVISOR_STREAM={}\n",
        stream.word()
    );
    if let Some(slot) = parts.slot {
        all.push_str(&format!("SUPERVISOR_SLOT={slot}\n"));
    }
    if parts.continues {
        all.push_str("SUPERVISOR_CONTINUES=1\n");
    }
    all.push_str("MESSAGE=");
    let mut all = all.into_bytes();
    all.extend_from_slice(parts.text);
    all.push(b'\n');
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> (tempfile::TempDir, UnixDatagram, Journal) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let server = UnixDatagram::bind(&path).unwrap();
        server.set_nonblocking(true).unwrap();
        (dir, server, Journal::new(path, "web".to_owned()))
    }

    fn next(server: &UnixDatagram) -> Vec<u8> {
        let mut bytes = vec![0; 128 * 1024];
        let count = server.recv(&mut bytes).unwrap();
        bytes.truncate(count);
        bytes
    }

    #[test]
    fn each_line_is_an_entry_with_fields() {
        let (_dir, server, mut journal) = journal();
        journal.write(Stream::Err, b"3 | oh = no \xff\n12 > more\n");
        let fields = b"PRIORITY=3\nSYSLOG_IDENTIFIER=web\nSUPERVISOR_APP=web\n\
            SUPERVISOR_STREAM=stderr\nSUPERVISOR_SLOT=3\nMESSAGE=oh = no \xff\n";
        assert_eq!(next(&server), fields);
        let second = String::from_utf8(next(&server)).unwrap();
        assert!(second.ends_with("SUPERVISOR_SLOT=12\nSUPERVISOR_CONTINUES=1\nMESSAGE=more\n"));
        journal.write(Stream::Out, b"0 | \n");
        let third = String::from_utf8(next(&server)).unwrap();
        assert!(third.starts_with("PRIORITY=6\n") && third.ends_with("\nMESSAGE=\n"));
        assert_eq!(journal.take_complaint(), None);
    }

    #[test]
    fn a_long_line_takes_several_entries() {
        let (_dir, server, mut journal) = journal();
        let line = format!("0 | {}\n", "\u{e4}".repeat(MOST));
        journal.write(Stream::Out, line.as_bytes());
        let mut message = String::new();
        for number in 0..3 {
            let entry = next(&server);
            let text = std::str::from_utf8(&entry).expect("characters are whole");
            assert_eq!(text.contains("SUPERVISOR_CONTINUES=1"), number > 0, "{number}");
            if let Some((_, piece)) = text.trim_end().split_once("MESSAGE=") {
                message.push_str(piece);
            }
            if message.len() + 6 > line.len() {
                break;
            }
        }
        assert_eq!(message, line[4..].trim_end());
    }

    #[test]
    fn a_journal_that_does_not_read_costs_lines_and_no_time() {
        let (dir, server, mut journal) = journal();
        for _ in 0..5000 {
            journal.write(Stream::Out, b"0 | line\n");
        }
        let complaint = journal.take_complaint().unwrap();
        assert!(complaint.contains("does not keep up"), "{complaint}");
        // It is started again: the next line finds it.
        drop(server);
        let path = dir.path().join("socket");
        std::fs::remove_file(&path).unwrap();
        journal.write(Stream::Out, b"0 | lost\n0 | lost\n");
        let complaint = journal.take_complaint().unwrap();
        assert!(complaint.contains("cannot reach the journal at"), "{complaint}");
        let server = UnixDatagram::bind(&path).unwrap();
        journal.write(Stream::Out, b"0 | again\n");
        assert!(next(&server).ends_with(b"MESSAGE=again\n"));
    }
}
