//! What waits to be written to a worker, what of it had a descriptor beside it, and when the next
//! descriptor may follow. Bounded: a worker that does not read is refused more.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::messages::LinkError;
use crate::sys::held::{Claims, Held};

/// Bytes that may wait for one worker when a message of the program's is added.
const USER: usize = ipc::node::MAX_LINE;
/// When a connection is added: a worker with so much waiting is better left alone.
const NEWCONN: usize = 256 << 10;
/// When a line of the protocol's own is added, which cannot be left out.
const OWN: usize = USER + (1 << 20);
/// Lines without a descriptor are joined up to this size, which the kernel takes whole or not at all:
/// a primary that dies leaves no part of a line to a program that could make nothing of it.
const JOINED: usize = crate::sys::channel::WHOLE;

/// Node reads at most 64 KiB at a time. Further descriptors go out unacknowledged only while all
/// that may be unread is less than that, by a good margin.
const WINDOW: u64 = 32 << 10;
/// The kernel keeps a write of this size in one piece.
const ONE_PIECE: usize = 4 << 10;
/// Descriptors that are not acknowledged yet. The kernel counts those in flight against the
/// user's limit of open files.
const IN_FLIGHT: usize = 64;

const _: () = assert!(ONE_PIECE < WINDOW as usize && NEWCONN < USER);

/// What is to be written by one call, and with what.
#[derive(Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) fd: Option<BorrowedFd<'a>>,
}

/// What a sent descriptor was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// The connection of that message.
    NewConn(u64),
    /// A listening or a UDP socket.
    Shared,
    /// Sent by whoever had the channel before us.
    Stranger,
}

#[derive(Debug, Default)]
pub(super) struct Out {
    queue: VecDeque<Line>,
    /// Bytes in it, unwritten.
    queued: usize,
    /// Bytes written ever.
    written: u64,
    /// So many of them were read for certain.
    read: u64,
    /// Descriptors sent and not acknowledged, oldest first.
    sent: VecDeque<InFlight>,
    /// The latest hand-off that was sent.
    last_newconn: Option<u64>,
    /// Somebody had the channel before us, and what he sent may be acknowledged to us.
    inherited: bool,
    /// Some of that may not be read yet: no descriptor follows it.
    settling: bool,
}

/// A line that was not written, snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LineSnapshot {
    text: String,
    handle: Option<Held>,
}

#[derive(Debug)]
struct Line {
    bytes: Vec<u8>,
    written: usize,
    /// Until the first byte is written.
    handle: Option<Handle>,
}

#[derive(Debug)]
enum Handle {
    NewConn(u64),
    Shared(OwnedFd),
}

#[derive(Debug)]
struct InFlight {
    what: Sent,
    /// The position of its packet's end.
    end: u64,
    /// It was written by one call.
    whole: bool,
}

impl Out {
    /// A line of the protocol's own.
    pub(super) fn push_line(&mut self, line: Vec<u8>) -> Result<(), LinkError> {
        self.check_own(&line)?;
        self.push_plain(line);
        Ok(())
    }

    /// A listening socket and the line that goes with it.
    pub(super) fn push_shared(&mut self, line: Vec<u8>, fd: OwnedFd) -> Result<(), LinkError> {
        self.check_own(&line)?;
        self.push(line, Some(Handle::Shared(fd)));
        Ok(())
    }

    /// A line of the program's; false: too much waits already.
    pub(super) fn push_user(&mut self, line: Vec<u8>) -> bool {
        let fits = self.queued + line.len() <= USER;
        if fits {
            self.push_plain(line);
        }
        fits
    }

    /// A connection's line; false: too much waits already.
    pub(super) fn push_newconn(&mut self, line: Vec<u8>, seq: u64) -> bool {
        let fits = self.queued + line.len() <= NEWCONN;
        if fits {
            self.push(line, Some(Handle::NewConn(seq)));
        }
        fits
    }

    /// The next packet, unless there is none or its descriptor has to wait. `fd_of`: the
    /// connection of a message.
    pub(super) fn next_packet<'a>(
        &'a self,
        fd_of: impl Fn(u64) -> Option<&'a OwnedFd>,
    ) -> Option<Packet<'a>> {
        let line = self.queue.front()?;
        let bytes = &line.bytes[line.written..];
        let fd = match &line.handle {
            None => return Some(Packet { bytes, fd: None }),
            Some(Handle::Shared(fd)) => fd,
            // A queued line's connection is there for as long as the line is.
            Some(Handle::NewConn(seq)) => fd_of(*seq)?,
        };
        self.may_send_handle(bytes.len()).then(|| Packet { bytes, fd: Some(fd.as_fd()) })
    }

    /// So many bytes of the next packet were written.
    pub(super) fn wrote(&mut self, count: usize) {
        let Some(line) = self.queue.front_mut() else { return };
        let left = line.bytes.len() - line.written;
        let count = count.min(left);
        if count == 0 {
            return;
        }
        if let Some(handle) = line.handle.take() {
            let what = match handle {
                Handle::NewConn(seq) => {
                    self.last_newconn = Some(seq);
                    Sent::NewConn(seq)
                }
                // The kernel holds it now.
                Handle::Shared(_) => Sent::Shared,
            };
            let end = self.written + left as u64;
            self.sent.push_back(InFlight { what, end, whole: count == left });
        }
        line.written += count;
        self.written += count as u64;
        self.queued -= count;
        if count == left {
            self.queue.pop_front();
        }
    }

    /// The oldest descriptor in flight has arrived, or has been lost.
    pub(super) fn acknowledged(&mut self) -> Result<Sent, LinkError> {
        match self.sent.pop_front() {
            Some(InFlight { what, end, .. }) if end <= self.written => {
                self.read = end;
                Ok(what)
            }
            _ if self.inherited => Ok(Sent::Stranger),
            _ => Err(LinkError::AcknowledgedUnsent),
        }
    }

    /// Whether the hand-off of that message still waits here.
    pub(super) fn is_unsent(&self, seq: u64) -> bool {
        self.last_newconn.is_none_or(|last| seq > last)
    }

    /// Forgets the hand-offs that wait here, and says which.
    pub(super) fn drop_unsent(&mut self) -> Vec<u64> {
        let mut dropped = Vec::new();
        self.queue.retain(|line| match line.handle {
            Some(Handle::NewConn(seq)) => {
                dropped.push(seq);
                self.queued -= line.bytes.len();
                false
            }
            Some(Handle::Shared(_)) | None => true,
        });
        dropped
    }

    /// Lines that nothing was written of; connections are not among them.
    pub(super) fn snapshot(&self) -> Vec<LineSnapshot> {
        let unsent = self.queue.iter().filter(|line| line.written == 0);
        let snapshot = |line: &Line| {
            let handle = match &line.handle {
                None => None,
                Some(Handle::Shared(fd)) => Some(Held::of(fd.as_fd())),
                Some(Handle::NewConn(_)) => return None,
            };
            let text = String::from_utf8(line.bytes.clone()).ok()?;
            Some(LineSnapshot { text, handle })
        };
        unsent.filter_map(snapshot).collect()
    }

    /// For the successor.
    pub(super) fn restore(lines: Vec<LineSnapshot>, claims: &mut Claims) -> Self {
        let mut out = Self { inherited: true, settling: true, ..Self::default() };
        for LineSnapshot { text, handle } in lines {
            match handle.map(|held| claims.claim(held)) {
                None => out.push(text.into_bytes(), None),
                Some(Ok(fd)) => out.push(text.into_bytes(), Some(Handle::Shared(fd))),
                // It was sent meanwhile.
                Some(Err(_)) => {}
            }
        }
        out
    }

    pub(super) fn settle(&mut self) {
        self.settling = false;
    }

    pub(super) fn is_settling(&self) -> bool {
        self.settling
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn may_send_handle(&self, length: usize) -> bool {
        if self.settling {
            return false;
        }
        if self.sent.is_empty() {
            return true;
        }
        self.sent.len() < IN_FLIGHT
            && length <= ONE_PIECE
            && self.written - self.read + length as u64 <= WINDOW
            && self.sent.iter().all(|sent| sent.whole)
    }

    fn check_own(&self, line: &[u8]) -> Result<(), LinkError> {
        let queued = self.queued + line.len();
        if queued > OWN { Err(LinkError::NotReading { queued }) } else { Ok(()) }
    }

    fn push_plain(&mut self, line: Vec<u8>) {
        match self.queue.back_mut() {
            Some(last) if last.handle.is_none() && last.bytes.len() + line.len() <= JOINED => {
                self.queued += line.len();
                last.bytes.extend_from_slice(&line);
            }
            _ => self.push(line, None),
        }
    }

    fn push(&mut self, bytes: Vec<u8>, handle: Option<Handle>) {
        self.queued += bytes.len();
        self.queue.push_back(Line { bytes, written: 0, handle });
    }
}
