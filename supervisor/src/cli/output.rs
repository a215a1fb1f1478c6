//! What a person or a program gets to see: stdout without panics, stderr, progress.
//!
//! A reader that went away is not an error. Progress and its lines appear on a terminal only.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use indicatif::ProgressBar;
use ipc::control::Notice;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::exit::Failure;

/// Stdout. After the first failure nothing more is written.
#[derive(Debug)]
pub(crate) struct Out {
    stream: io::Stdout,
    failed: Option<io::Error>,
}

impl Out {
    pub(crate) fn stdout() -> Self {
        Self { stream: io::stdout(), failed: None }
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, text: impl Display) {
        self.bytes(format!("{text}\n").as_bytes());
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            let written = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
            self.failed = written.err();
        }
    }

    /// Writes a value as JSON over several lines.
    pub(crate) fn json<T: serde::Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::failed(format!("cannot write JSON: {error}")))?;
        self.line(text);
        Ok(())
    }

    /// Whether writing on is pointless.
    pub(crate) fn is_gone(&self) -> bool {
        self.failed.is_some() || hung_up(self.stream.as_fd())
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.stream.is_terminal()
    }

    /// How wide the terminal is, if it is one.
    pub(crate) fn width(&self) -> Option<u16> {
        if !self.is_terminal() {
            return None;
        }
        rustix::termios::tcgetwinsize(&self.stream).ok().map(|size| size.ws_col).filter(|w| *w > 0)
    }

    /// Says whether everything was written, or nobody wanted to read on.
    pub(crate) fn end(self) -> Result<(), Failure> {
        match self.failed {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::io("cannot write to stdout", &error))
            }
            _ => Ok(()),
        }
    }
}

/// Whether the reader of a pipe or socket is gone.
fn hung_up(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut fds, Some(&now)), Ok(count) if count > 0)
        && fds[0].revents().intersects(PollFlags::ERR | PollFlags::NVAL)
}

/// Says why something failed.
pub(crate) fn complain(failure: &Failure) {
    // Nobody is left to tell if stderr is closed.
    let _ = io::stderr().write_all(failure.to_text().as_bytes());
}

/// Says something that is not the result.
pub(crate) fn remark(text: impl Display) {
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Whether a person reads stderr.
pub(crate) fn on_terminal() -> bool {
    io::stderr().is_terminal()
}

/// A spinner and the notices that pass while somebody waits. Nothing where stderr is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn begin(what: impl Display) -> Self {
        // Hidden by itself where stderr is no terminal.
        let bar = ProgressBar::new_spinner();
        if !bar.is_hidden() {
            bar.set_message(what.to_string());
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Self { bar }
    }

    pub(crate) fn notice(&self, notice: &Notice) {
        self.bar.println(format!("  {}", one_line(notice)));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A notice in one line.
pub(crate) fn one_line(notice: &Notice) -> String {
    match notice.slot {
        Some(slot) if !notice.message.starts_with("slot ") => {
            format!("slot {slot}: {}", notice.message)
        }
        _ => notice.message.clone(),
    }
}

/// Waits until `fd` can be read or has ended; false: `left` is over.
pub(crate) fn readable(fd: impl AsFd, left: Duration) -> io::Result<bool> {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let left = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
    match poll(&mut fds, Some(&left)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Lets `span` pass.
pub(crate) fn pause(span: Duration) {
    let span = Timespec::try_from(span).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
    // A signal only makes it shorter; every caller looks again.
    let _ = poll(&mut [], Some(&span));
}
