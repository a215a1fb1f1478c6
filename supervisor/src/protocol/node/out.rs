//! The packets that wait for a worker, which of them carry a descriptor, and when the next
//! descriptor may follow. The queue is bounded: a worker that does not read is refused more.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::messages::LinkError;
use crate::sys::held::{Claims, Held};

/// The most bytes that may wait for a worker when a message of the program is added.
const USER: usize = ipc::node::MAX_LINE;
/// The same when a connection is added: a worker with this much waiting should get no more.
const NEWCONN: usize = 256 << 10;
/// The same when a line of the protocol itself is added, which cannot be left out.
const OWN: usize = USER + (1 << 20);
/// Lines without a descriptor are joined up to this size, which the kernel takes whole or not at
/// all. So a primary that dies leaves no part of a line to a program, which could not parse it.
const JOINED: usize = crate::sys::channel::WHOLE;

/// Node reads at most 64 KiB at a time. The link sends further descriptors without waiting for an
/// acknowledgement only while less than this may be unread, well below that limit.
const WINDOW: u64 = 32 << 10;
/// The largest write that the kernel keeps in one piece.
const ONE_PIECE: usize = 4 << 10;
/// Descriptors without an acknowledgement. The kernel counts descriptors in flight against the
/// user's limit of open files.
const IN_FLIGHT: usize = 64;

const _: () = assert!(ONE_PIECE < WINDOW as usize && NEWCONN < USER);

/// The bytes and the descriptor of one write.
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
    /// A descriptor that the primary before us sent.
    Stranger,
}

#[derive(Debug, Default)]
pub(super) struct Out {
    queue: VecDeque<Line>,
    /// Unwritten bytes in the queue.
    queued: usize,
    /// All bytes written so far.
    written: u64,
    /// How many of them the worker has certainly read.
    read: u64,
    /// Descriptors that were sent and have no acknowledgement, oldest first.
    sent: VecDeque<InFlight>,
    /// The latest hand-over that was sent.
    last_newconn: Option<u64>,
    /// Another primary had the channel before us, and its descriptors may be acknowledged to us.
    inherited: bool,
    /// The worker may not have read all of that yet, so no descriptor may follow.
    settling: bool,
}

/// A line that is still unwritten, in a snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LineSnapshot {
    text: String,
    handle: Option<Held>,
}

#[derive(Debug)]
struct Line {
    bytes: Vec<u8>,
    written: usize,
    /// Present until the first byte is written.
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
    /// The position of the end of its packet.
    end: u64,
    /// One call wrote it whole.
    whole: bool,
}

impl Out {
    /// Adds a line of the protocol itself.
    pub(super) fn push_line(&mut self, line: Vec<u8>) -> Result<(), LinkError> {
        self.check_own(&line)?;
        self.push_plain(line);
        Ok(())
    }

    /// Adds a listening socket and its line.
    pub(super) fn push_shared(&mut self, line: Vec<u8>, fd: OwnedFd) -> Result<(), LinkError> {
        self.check_own(&line)?;
        self.push(line, Some(Handle::Shared(fd)));
        Ok(())
    }

    /// Adds a line of the program. `false`: too much waits already.
    pub(super) fn push_user(&mut self, line: Vec<u8>) -> bool {
        let fits = self.queued + line.len() <= USER;
        if fits {
            self.push_plain(line);
        }
        fits
    }

    /// Adds the line of a connection. `false`: too much waits already.
    pub(super) fn push_newconn(&mut self, line: Vec<u8>, seq: u64) -> bool {
        let fits = self.queued + line.len() <= NEWCONN;
        if fits {
            self.push(line, Some(Handle::NewConn(seq)));
        }
        fits
    }

    /// The next packet, unless there is none or its descriptor must wait. `fd_of`: the connection
    /// of a message.
    pub(super) fn next_packet<'a>(
        &'a self,
        fd_of: impl Fn(u64) -> Option<&'a OwnedFd>,
    ) -> Option<Packet<'a>> {
        let line = self.queue.front()?;
        let bytes = &line.bytes[line.written..];
        let fd = match &line.handle {
            None => return Some(Packet { bytes, fd: None }),
            Some(Handle::Shared(fd)) => fd,
            // The connection of a queued line exists for as long as the line.
            Some(Handle::NewConn(seq)) => fd_of(*seq)?,
        };
        self.may_send_handle(bytes.len()).then(|| Packet { bytes, fd: Some(fd.as_fd()) })
    }

    /// Notes that this many bytes of the next packet were written.
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
                // The kernel holds the descriptor now.
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

    /// The number of bytes that are not written yet.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// Whether the hand-over of that message still waits here.
    pub(super) fn is_unsent(&self, seq: u64) -> bool {
        self.last_newconn.is_none_or(|last| seq > last)
    }

    /// Drops the hand-overs that wait here and returns their numbers.
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

    /// The lines that are completely unwritten, without those of connections.
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

    /// Restores the queue in a successor.
    pub(super) fn restore(lines: Vec<LineSnapshot>, claims: &mut Claims) -> Self {
        let mut out = Self { inherited: true, settling: true, ..Self::default() };
        for LineSnapshot { text, handle } in lines {
            match handle.map(|held| claims.claim(held)) {
                None => out.push(text.into_bytes(), None),
                Some(Ok(fd)) => out.push(text.into_bytes(), Some(Handle::Shared(fd))),
                // The predecessor sent it meanwhile.
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
