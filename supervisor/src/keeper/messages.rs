//! The requests of a primary to its keeper, and the answers: one packet each, of fixed size except
//! for a path or a text. The keeper is the parent of all workers, so only it can ask the kernel how
//! a worker ended.
//!
//! ```text
//! ask:     kind u8, number u8, 2 bytes 0, pid u32 LE, path or text bytes (Replace and Tell only)
//! answer:  kind u8, number u8, 2 bytes 0, value i32 LE
//! ```
//! An answer carries the number of its request, so a late answer is not taken for the next one.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::base::exit::Exit;
use crate::sys::pidfd::Pid;

/// The longest request: one with the longest possible path. A text for the service manager is
/// shorter.
pub(super) const ASK: usize = HEAD + 4096;
pub(super) const ANSWER: usize = 8;
const HEAD: usize = 8;

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask<'a> {
    /// This child is a worker: do not reap it before a request says so.
    Own(Pid),
    /// This child is no worker any more: reap it when it ends.
    Disown(Pid),
    /// How did this worker end, if it did? It stays a zombie.
    Peek(Pid),
    /// The same, and reap it.
    Reap(Pid),
    /// You know all workers now, and may reap other children that end. No answer.
    Settled,
    /// The primary is about to end and needs no successor. No answer.
    Over,
    /// The primary's loop turns, and says so again within this many milliseconds. No answer.
    Alive(u32),
    /// Send this to the service manager, which listens to its main process only. The number is that
    /// of a descriptor plus 1, or 0 for none.
    Tell(u32, &'a [u8]),
    /// Start this program instead from the next start on; the primary is about to end. No answer.
    Replace(&'a Path),
}

/// The answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The keeper did it.
    Done,
    /// The worker is alive.
    Running,
    /// The worker has ended.
    Ended(Exit),
    /// No child has this pid, or the list of workers is full.
    Refused,
}

impl Ask<'_> {
    pub(super) fn encode(&self, number: u8) -> Vec<u8> {
        let (kind, pid, path) = match self {
            Self::Own(pid) => (1, pid.0, None),
            Self::Peek(pid) => (2, pid.0, None),
            Self::Reap(pid) => (3, pid.0, None),
            Self::Settled => (4, 0, None),
            Self::Over => (5, 0, None),
            Self::Alive(millis) => (7, *millis, None),
            Self::Disown(pid) => (9, pid.0, None),
            Self::Tell(fd, text) => (8, *fd, Some(*text)),
            Self::Replace(path) => (6, 0, Some(path.as_os_str().as_bytes())),
        };
        let mut bytes = vec![kind, number, 0, 0];
        bytes.extend(pid.to_le_bytes());
        bytes.extend(path.unwrap_or_default());
        bytes
    }

    /// Decodes a request and its number. `None`: these bytes are no request.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Ask<'_>, u8)> {
        let (head, path) = bytes.split_at_checked(HEAD)?;
        let [kind, number, 0, 0, pid @ ..] = head else { return None };
        let pid = Pid(u32::from_le_bytes(pid.try_into().ok()?));
        let ask = match (kind, path) {
            (1, []) => Ask::Own(pid),
            (2, []) => Ask::Peek(pid),
            (3, []) => Ask::Reap(pid),
            (4, []) => Ask::Settled,
            (5, []) => Ask::Over,
            (8, text) => Ask::Tell(pid.0, text),
            (7, []) => Ask::Alive(pid.0),
            (9, []) => Ask::Disown(pid),
            (6, path) => Ask::Replace(Path::new(OsStr::from_bytes(path))),
            _ => return None,
        };
        Some((ask, *number))
    }
}

impl Answer {
    pub(super) fn encode(self, number: u8) -> [u8; ANSWER] {
        let (kind, value) = match self {
            Self::Done => (1, 0),
            Self::Running => (2, 0),
            Self::Ended(Exit::Code(code)) => (3, code),
            Self::Ended(Exit::Signal(signal)) => (4, signal),
            Self::Ended(Exit::Unknown) => (6, 0),
            Self::Refused => (5, 0),
        };
        let [a, b, c, d] = value.to_le_bytes();
        [kind, number, 0, 0, a, b, c, d]
    }

    /// Decodes an answer and the number of its request.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, u8)> {
        let [kind, number, 0, 0, value @ ..] = bytes else { return None };
        let value = i32::from_le_bytes(value.try_into().ok()?);
        let answer = match kind {
            1 => Self::Done,
            2 => Self::Running,
            3 => Self::Ended(Exit::Code(value)),
            4 => Self::Ended(Exit::Signal(value)),
            5 => Self::Refused,
            6 => Self::Ended(Exit::Unknown),
            _ => return None,
        };
        Some((answer, *number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let pid = Pid(70_000);
        let path = Path::new("/usr/bin/supervisor");
        for ask in [
            Ask::Own(pid),
            Ask::Peek(pid),
            Ask::Reap(pid),
            Ask::Disown(pid),
            Ask::Settled,
            Ask::Over,
            Ask::Alive(7500),
            Ask::Tell(8, b"FDSTORE=1\nFDNAME=x"),
            Ask::Replace(path),
        ] {
            assert_eq!(Ask::decode(&ask.encode(7)), Some((ask, 7)));
        }
        for answer in [
            Answer::Done,
            Answer::Running,
            Answer::Ended(Exit::Code(-1)),
            Answer::Ended(Exit::Signal(9)),
            Answer::Refused,
        ] {
            assert_eq!(Answer::decode(&answer.encode(255)), Some((answer, 255)));
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        assert_eq!(Ask::decode(b""), None);
        assert_eq!(Ask::decode(&[1, 0, 0, 0, 1, 0, 0, 0, 9]), None);
        assert_eq!(Ask::decode(&[10, 0, 0, 0, 1, 0, 0, 0]), None);
        assert_eq!(Answer::decode(&[1, 0, 0, 0]), None);
        assert_eq!(Answer::decode(&[0; 8]), None);
    }
}
