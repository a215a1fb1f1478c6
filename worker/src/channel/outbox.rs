//! Writes to the supervisor, many small messages in one system call.
//!
//! A message that is not urgent waits until the writer thread takes everything that has gathered.
//! An urgent message is written by the thread that sends it, unless another thread is writing.

use std::io::{self, ErrorKind, Write};
use std::net::Shutdown;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::ancillary;
use crate::sync::locked;

/// The bytes that may wait to be written. A thread that sends more blocks: 1 MiB, as long as the
/// longest message.
const MAX_WAITING: usize = 1 << 20;
/// How long a write may block. The supervisor stops reading a worker for at most 5 seconds while a
/// slow reader makes no progress, so after this time the supervisor is stuck.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The bytes that wait to be written, and the socket.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<Waiting>,
    /// Signalled when bytes wait to be written, and at the end.
    wake: Condvar,
    /// Signalled when a write has made room, and at the end.
    room: Condvar,
    stream: UnixStream,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Whether a thread is writing. It has released the lock meanwhile.
    writing: bool,
    /// Whether the writer thread sleeps. Waking it costs more than a message, so only a thread
    /// that finds it asleep does.
    asleep: bool,
    closed: bool,
    /// The threads that wait for room. A signal for nobody costs as much as one for a thread.
    blocked: usize,
}

fn gone() -> io::Error {
    io::Error::new(ErrorKind::BrokenPipe, "the channel to the supervisor is closed")
}

fn not_read() -> io::Error {
    let reason = "the supervisor does not read this worker's channel";
    io::Error::new(ErrorKind::TimedOut, reason)
}

impl Outbox {
    /// An outbox, and its writer thread.
    pub(crate) fn new(stream: UnixStream) -> io::Result<Arc<Self>> {
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let outbox = Arc::new(Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            room: Condvar::new(),
            stream,
        });
        let writer = Arc::clone(&outbox);
        thread::Builder::new().name("bus-writer".to_owned()).spawn(move || writer.run())?;
        Ok(outbox)
    }

    /// Adds a frame. See the module about `urgent`.
    pub(crate) fn push(&self, frame: &[u8], urgent: bool) -> io::Result<()> {
        self.push_with(urgent, |bytes| {
            bytes.extend_from_slice(frame);
            Ok(())
        })
    }

    /// Adds a frame that `encode` appends to the waiting bytes, without a copy.
    pub(crate) fn push_with(
        &self,
        urgent: bool,
        encode: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        let full = |waiting: &Waiting| waiting.bytes.len() > MAX_WAITING && !waiting.closed;
        let mut waiting = locked(&self.state);
        if full(&waiting) {
            let (waited, in_time) = self.wait_for_room(waiting, full);
            if !in_time && !waited.closed {
                return Err(not_read());
            }
            waiting = waited;
        }
        if waiting.closed {
            return Err(gone());
        }
        encode(&mut waiting.bytes)?;
        if urgent && !waiting.writing {
            waiting = self.write_once(waiting);
        }
        if !waiting.writing && !waiting.bytes.is_empty() && std::mem::take(&mut waiting.asleep) {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Writes a frame with a descriptor in this thread, behind all waiting bytes.
    pub(crate) fn push_descriptor(&self, frame: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
        let busy = |waiting: &Waiting| waiting.writing && !waiting.closed;
        let (mut waiting, in_time) = self.wait_for_room(locked(&self.state), busy);
        if waiting.closed {
            return Err(gone());
        }
        if !in_time {
            return Err(not_read());
        }
        waiting.writing = true;
        let before = std::mem::take(&mut waiting.bytes);
        drop(waiting);
        let written = (&self.stream)
            .write_all(&before)
            .and_then(|()| ancillary::send(&self.stream, frame, fd))
            .and_then(|count| (&self.stream).write_all(&frame[count..]));
        let mut waiting = locked(&self.state);
        self.finish_write(&mut waiting, &written);
        self.room.notify_all();
        self.wake.notify_all();
        written
    }

    /// Ends a write. After a failed one the supervisor may hold half a message, so nothing more
    /// goes out, and the reader sees the end of the channel.
    fn finish_write(&self, waiting: &mut Waiting, written: &io::Result<()>) {
        waiting.writing = false;
        if written.is_err() {
            waiting.closed = true;
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }

    /// Writes all waiting bytes.
    fn write_once<'a>(&'a self, mut waiting: MutexGuard<'a, Waiting>) -> MutexGuard<'a, Waiting> {
        waiting.writing = true;
        let mut bytes = std::mem::take(&mut waiting.bytes);
        drop(waiting);
        let written = (&self.stream).write_all(&bytes);
        let mut waiting = locked(&self.state);
        self.finish_write(&mut waiting, &written);
        if waiting.bytes.is_empty() && bytes.capacity() <= 2 * MAX_WAITING {
            bytes.clear();
            waiting.bytes = bytes;
        }
        if waiting.blocked > 0 {
            self.room.notify_all();
        }
        waiting
    }

    /// Waits while `holds`. Returns whether it stopped holding in time.
    fn wait_for_room<'a>(
        &'a self,
        mut waiting: MutexGuard<'a, Waiting>,
        holds: impl Fn(&Waiting) -> bool,
    ) -> (MutexGuard<'a, Waiting>, bool) {
        waiting.blocked += 1;
        let (mut waiting, timeout) = self
            .room
            .wait_timeout_while(waiting, WRITE_TIMEOUT, |waiting| holds(waiting))
            .unwrap_or_else(PoisonError::into_inner);
        waiting.blocked -= 1;
        (waiting, !timeout.timed_out())
    }

    /// The writer thread.
    fn run(&self) {
        let mut waiting = locked(&self.state);
        loop {
            if waiting.closed {
                return;
            }
            if waiting.writing || waiting.bytes.is_empty() {
                waiting.asleep = true;
                waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            waiting = self.write_once(waiting);
        }
    }

    /// Writes all waiting bytes, and closes the channel in both directions.
    pub(crate) fn close(&self) {
        let writes = |waiting: &Waiting| waiting.writing && !waiting.closed;
        let (mut waiting, _) = self.wait_for_room(locked(&self.state), writes);
        if !waiting.closed && !waiting.bytes.is_empty() {
            waiting = self.write_once(waiting);
        }
        waiting.closed = true;
        drop(waiting);
        self.wake.notify_all();
        self.room.notify_all();
        // The reading thread sees the end of the channel.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
