//! The channel to the supervisor: the inherited fd, and a writer that batches.
//!
//! Refuses an fd that is no unix stream socket, and taking it twice.

use std::env;
use std::io::{self, ErrorKind, Write};
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::bus::locked;
use crate::gifts;

/// Bytes that may wait to be written; then who writes has to wait.
const WAITING: usize = 1 << 20;
/// The supervisor stops reading only for as long as a slow reader is waited for, which is less.
const PATIENCE: Duration = Duration::from_secs(30);

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The channel that this process inherited; `None` without a supervisor.
pub(crate) fn inherited() -> io::Result<Option<UnixStream>> {
    let Ok(number) = env::var("SUPERVISOR_CHANNEL_FD") else { return Ok(None) };
    let wrong = |why: &str| {
        let reason = format!("SUPERVISOR_CHANNEL_FD={number}: {why}");
        io::Error::new(ErrorKind::InvalidData, reason)
    };
    let fd: i32 = number.parse().map_err(|_| wrong("is no number"))?;
    let target = std::fs::read_link(format!("/proc/self/fd/{fd}"));
    if !target.is_ok_and(|target| target.to_string_lossy().starts_with("socket:")) {
        return Err(wrong("is no open socket (was the channel not inherited?)"));
    }
    if TAKEN.swap(true, Ordering::SeqCst) {
        let reason = "this process has joined before: clone that Worker";
        return Err(io::Error::new(ErrorKind::AlreadyExists, reason));
    }
    let socket = owned(fd);
    let is_ours = sockopt::socket_domain(&socket).is_ok_and(|d| d == AddressFamily::UNIX)
        && sockopt::socket_type(&socket).is_ok_and(|kind| kind == SocketType::STREAM);
    if !is_ours {
        std::mem::forget(socket);
        return Err(wrong("is no unix stream socket"));
    }
    // Programs that this one starts must not hold its channel open.
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(Some(stream))
}

#[expect(unsafe_code, reason = "an inherited fd is a number until somebody owns it")]
fn owned(number: i32) -> OwnedFd {
    // SAFETY: the fd is open and a socket, as /proc just said. The supervisor put it there for
    // this process to own, and `TAKEN` lets one owner be made of it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// What waits to be written. Whoever finds nobody writing writes for all.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<Waiting>,
    /// Something waits to be written, or the end has come.
    wake: Condvar,
    /// There is room again, or the end has come.
    room: Condvar,
    stream: UnixStream,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    writing: bool,
    /// The thread sleeps. Waking it costs more than a message.
    asleep: bool,
    closed: bool,
    /// So many wait for room. Waking nobody costs as much as waking one.
    crowd: usize,
}

fn gone() -> io::Error {
    io::Error::new(ErrorKind::BrokenPipe, "the channel to the supervisor is closed")
}

fn not_read() -> io::Error {
    let reason = "the supervisor does not read this worker's channel";
    io::Error::new(ErrorKind::TimedOut, reason)
}

impl Outbox {
    /// With its thread.
    pub(crate) fn new(stream: UnixStream) -> io::Result<Arc<Self>> {
        stream.set_write_timeout(Some(PATIENCE))?;
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

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        locked(&self.state)
    }

    /// Adds a frame. `urgent`: writes it in this thread if nobody else writes just now; else a
    /// thread of ours writes it together with what else has come until then.
    pub(crate) fn push(&self, frame: &[u8], urgent: bool) -> io::Result<()> {
        self.push_made(urgent, |bytes| {
            bytes.extend_from_slice(frame);
            Ok(())
        })
    }

    /// As `push`, a frame that is made where it waits.
    pub(crate) fn push_made(
        &self,
        urgent: bool,
        make: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        let full = |waiting: &Waiting| waiting.bytes.len() > WAITING && !waiting.closed;
        let mut waiting = self.lock();
        if full(&waiting) {
            let (waited, in_time) = self.wait(waiting, PATIENCE, full);
            if !in_time && !waited.closed {
                return Err(not_read());
            }
            waiting = waited;
        }
        if waiting.closed {
            return Err(gone());
        }
        make(&mut waiting.bytes)?;
        if urgent && !waiting.writing {
            waiting = self.write_once(waiting);
        }
        if !waiting.writing && !waiting.bytes.is_empty() && std::mem::take(&mut waiting.asleep) {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Writes a frame with a descriptor in this thread, behind everything that waits.
    pub(crate) fn push_with(&self, frame: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
        let busy = |waiting: &Waiting| waiting.writing && !waiting.closed;
        let (mut waiting, in_time) = self.wait(self.lock(), PATIENCE, busy);
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
            .and_then(|()| gifts::send(&self.stream, frame, fd))
            .and_then(|count| (&self.stream).write_all(&frame[count..]));
        let mut waiting = self.lock();
        self.wrote(&mut waiting, &written);
        self.room.notify_all();
        self.wake.notify_all();
        written
    }

    /// A channel that took half a message takes nothing more, and nobody reads on from it.
    fn wrote(&self, waiting: &mut Waiting, written: &io::Result<()>) {
        waiting.writing = false;
        if written.is_err() {
            waiting.closed = true;
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }

    /// Writes what waits now.
    fn write_once<'a>(&'a self, mut waiting: MutexGuard<'a, Waiting>) -> MutexGuard<'a, Waiting> {
        waiting.writing = true;
        let mut bytes = std::mem::take(&mut waiting.bytes);
        drop(waiting);
        let written = (&self.stream).write_all(&bytes);
        let mut waiting = self.lock();
        self.wrote(&mut waiting, &written);
        if waiting.bytes.is_empty() && bytes.capacity() <= 2 * WAITING {
            bytes.clear();
            waiting.bytes = bytes;
        }
        if waiting.crowd > 0 {
            self.room.notify_all();
        }
        waiting
    }

    /// Waits for room while this holds. Whether it ended in time.
    fn wait<'a>(
        &'a self,
        mut waiting: MutexGuard<'a, Waiting>,
        patience: Duration,
        holds: impl Fn(&Waiting) -> bool,
    ) -> (MutexGuard<'a, Waiting>, bool) {
        waiting.crowd += 1;
        let (mut waiting, timeout) = self
            .room
            .wait_timeout_while(waiting, patience, |waiting| holds(waiting))
            .unwrap_or_else(PoisonError::into_inner);
        waiting.crowd -= 1;
        (waiting, !timeout.timed_out())
    }

    fn run(&self) {
        let mut waiting = self.lock();
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

    /// Writes what waits, and then nothing more.
    pub(crate) fn close(&self) {
        let writes = |waiting: &Waiting| waiting.writing && !waiting.closed;
        let (mut waiting, _) = self.wait(self.lock(), PATIENCE, writes);
        if !waiting.closed && !waiting.bytes.is_empty() {
            waiting = self.write_once(waiting);
        }
        waiting.closed = true;
        drop(waiting);
        self.wake.notify_all();
        self.room.notify_all();
        // The reader sees the end.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
