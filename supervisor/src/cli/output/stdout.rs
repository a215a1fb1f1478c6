//! stdout. A reader that has closed its end is not an error, and writing to it does not panic.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cli::exit::Failure;

/// stdout. After the first error nothing more is written.
#[derive(Debug)]
pub(crate) struct Stdout {
    stream: io::Stdout,
    error: Option<io::Error>,
}

impl Stdout {
    /// The stdout of this process.
    pub(crate) fn new() -> Self {
        Self { stream: io::stdout(), error: None }
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, text: impl Display) {
        self.bytes(format!("{text}\n").as_bytes());
    }

    /// Writes bytes unchanged.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        if self.error.is_none() {
            let written = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
            self.error = written.err();
        }
    }

    /// Writes a value as indented JSON. Fails if the value has no form in JSON.
    pub(crate) fn json<T: serde::Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::failed(format!("cannot write JSON: {error}")))?;
        self.line(text);
        Ok(())
    }

    /// Whether the reader has closed its end, or writing has failed.
    pub(crate) fn is_closed(&self) -> bool {
        self.error.is_some() || reader_has_left(self.stream.as_fd())
    }

    /// The width of the terminal in columns; `None` if stdout is no terminal.
    pub(crate) fn width(&self) -> Option<u16> {
        if !self.stream.is_terminal() {
            return None;
        }
        rustix::termios::tcgetwinsize(&self.stream).ok().map(|size| size.ws_col).filter(|w| *w > 0)
    }

    /// Fails if something could not be written to a reader that still wanted it.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self.error {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::io("cannot write to stdout", &error))
            }
            _ => Ok(()),
        }
    }
}

/// Whether the reading end of a pipe or socket is closed.
fn reader_has_left(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut fds, Some(&now)), Ok(count) if count > 0)
        && fds[0].revents().intersects(PollFlags::ERR | PollFlags::NVAL)
}
