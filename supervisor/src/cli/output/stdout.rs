//! stdout. A reader that has closed its end is not an error, and writing to it does not panic.

use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};

use super::tone;
use crate::cli::exit::Failure;
use crate::sys::poll::poll;
use crate::sys::terminal;

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
        self.error.is_some() || reader_leaves(self.stream.as_fd(), Duration::ZERO)
    }

    /// The same, after as long as `limit` if it is not closed.
    pub(crate) fn closes_within(&self, limit: Duration) -> bool {
        self.error.is_some() || reader_leaves(self.stream.as_fd(), limit)
    }

    /// The width of the terminal in columns; `None` if stdout is no terminal.
    pub(crate) fn width(&self) -> Option<u16> {
        terminal::width(self.stream.as_fd())
    }

    /// Whether text may have colours: there is a terminal, and the user wants them.
    pub(crate) fn has_colours(&self) -> bool {
        self.width().is_some() && tone::colours_are_wanted()
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

/// Whether the reading end of a pipe, socket or terminal is closed, or becomes so within `limit`.
fn reader_leaves(fd: BorrowedFd<'_>, limit: Duration) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::empty())];
    let gone = PollFlags::POLLERR | PollFlags::POLLNVAL | PollFlags::POLLHUP;
    poll(&mut fds, Some(limit)).is_ok_and(|count| count > 0)
        && fds[0].revents().is_some_and(|events| events.intersects(gone))
}
