//! Reads from the supervisor: bytes, descriptors, and whose turn it is to read them.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use ipc::bus::ToWorker;
use ipc::bus::decode::Decoder;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;

use super::ancillary;
use super::batch::Batch;
use super::reading_role::{Notifier, ReadingRole, RoleLock, Turn as RoleTurn};

/// The bytes of one read.
const READ: usize = 64 * 1024;
/// How long a read blocks at most. Then the reading thread looks whether it still needs to read.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// What belongs to the thread that reads.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) decoder: Decoder<ToWorker>,
    /// The events of one read. Kept for its memory.
    pub(crate) events: Batch,
    /// Whether the channel has ended.
    pub(crate) over: bool,
    bytes: Vec<u8>,
}

/// The reading end of the channel.
#[derive(Debug)]
pub(crate) struct Inbox {
    role: ReadingRole<Mutex<Reader>, Epoll>,
}

/// The turn of one thread to read, until this is dropped.
pub(crate) struct Turn<'a> {
    stream: &'a UnixStream,
    turn: RoleTurn<'a, Mutex<Reader>, Epoll>,
}

/// How long a read waits for bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Block {
    Never,
    /// At most [`READ_TIMEOUT`].
    Briefly,
    /// At most [`READ_TIMEOUT`], and no longer than this.
    Until(Instant),
}

/// What one read gave.
pub(crate) enum Read {
    /// The decoder got bytes, and these descriptors came with them. `None` stands for a descriptor
    /// that the kernel could not deliver. `more`: the read filled its buffer.
    Bytes {
        fds: Vec<Option<OwnedFd>>,
        more: bool,
    },
    Nothing,
    End,
}

#[derive(Debug)]
struct Epoll {
    stream: UnixStream,
    epoll: OwnedFd,
}

impl RoleLock for Mutex<Reader> {
    type Guard<'a> = MutexGuard<'a, Reader>;

    fn try_acquire(&self) -> Option<MutexGuard<'_, Reader>> {
        match self.try_lock() {
            Ok(reader) => Some(reader),
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Notifier for Epoll {
    fn arm(&self, on: bool) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, &self.stream, EventData::new_u64(0), flags(on))?)
    }

    fn abandon(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn flags(on: bool) -> EventFlags {
    let mut flags = EventFlags::ONESHOT;
    flags.set(EventFlags::IN, on);
    flags
}

impl Inbox {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &stream, EventData::new_u64(0), flags(true))?;
        let (decoder, events) = (Decoder::default(), Batch::default());
        let reader = Reader { decoder, events, over: false, bytes: vec![0; READ] };
        Ok(Self { role: ReadingRole::new(Mutex::new(reader), Epoll { stream, epoll }) })
    }

    /// Sleeps until bytes come that nobody reads. They are announced once, until the next [`Turn`]
    /// ends.
    pub(crate) fn wait(&self) -> io::Result<()> {
        let mut events = Vec::with_capacity(1);
        match epoll::wait(&self.role.notifier.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the turn to read, if no other thread has it. `notified`: [`Inbox::wait`] has just
    /// returned.
    pub(crate) fn take_turn(&self, notified: bool) -> Option<Turn<'_>> {
        let turn = self.role.take(notified)?;
        Some(Turn { stream: &self.role.notifier.stream, turn })
    }
}

impl Turn<'_> {
    pub(crate) fn reader(&mut self) -> &mut Reader {
        &mut self.turn.guard
    }

    /// Reads once, into the decoder.
    pub(crate) fn read(&mut self, block: Block) -> io::Result<Read> {
        let flags = match block {
            Block::Never => RecvFlags::DONTWAIT,
            Block::Briefly => RecvFlags::empty(),
            Block::Until(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left < READ_TIMEOUT && !self.is_readable_within(left)? {
                    return Ok(Read::Nothing);
                }
                RecvFlags::empty()
            }
        };
        let stream = self.stream;
        let reader = self.reader();
        match ancillary::receive(stream, &mut reader.bytes, flags) {
            Ok((0, _)) => Ok(Read::End),
            Ok((count, fds)) => {
                reader.decoder.push(&reader.bytes[..count]);
                Ok(Read::Bytes { fds, more: count == reader.bytes.len() })
            }
            Err(error) => match error.kind() {
                ErrorKind::Interrupted | ErrorKind::WouldBlock => Ok(Read::Nothing),
                _ => Err(error),
            },
        }
    }

    fn is_readable_within(&self, time: Duration) -> io::Result<bool> {
        let mut sources = [PollFd::new(self.stream, PollFlags::IN)];
        let time = Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        };
        match poll(&mut sources, Some(&time)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
