//! Who reads the channel. One at a time does: a thread that waits for an answer or serves a topic
//! reads for itself and hands on what is for others, since waking another thread takes longer than
//! all that is done with a message. While no such thread waits, a thread of ours does.
//!
//! That thread waits for bytes by epoll, which whoever takes the reading switches off, and whoever
//! gives it back switches on: so nothing lies in the channel without somebody who is woken for it.

use std::io::{self, ErrorKind};
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

use crate::batch::Batch;
use crate::gifts;

/// Bytes read at a time.
const READ: usize = 64 * 1024;
/// How long a read waits; then it is looked at whether it still should.
const LOOK: Duration = Duration::from_secs(1);

/// What belongs to who reads.
pub(crate) struct Reader {
    pub(crate) decoder: Decoder<ToWorker>,
    pub(crate) events: Batch,
    /// The channel has ended.
    pub(crate) over: bool,
    bytes: Vec<u8>,
}

/// See the module.
pub(crate) struct Reading {
    stream: UnixStream,
    epoll: OwnedFd,
    /// Locked by who reads.
    reader: Mutex<Reader>,
}

/// It is one's own turn to read, until this is dropped.
pub(crate) struct Lead<'a> {
    stream: &'a UnixStream,
    pub(crate) reader: MutexGuard<'a, Reader>,
    /// Behind the guard, so that it is dropped after it: who is woken finds nobody reading.
    _back: Back<'a>,
}

/// Has the thread of ours woken for what comes from now on.
struct Back<'a>(&'a Reading);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        if self.0.watch(true).is_err() {
            // Nobody would be woken any more: the end is better than silence.
            let _ = self.0.stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// How long a read waits for bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    None,
    /// At most a second.
    Some,
    /// At most a second, and no longer than this.
    Until(Instant),
}

/// What one read gave.
pub(crate) enum Read {
    /// These descriptors, and bytes for the decoder. `more`: there are probably more.
    Some {
        fds: Vec<Option<OwnedFd>>,
        more: bool,
    },
    /// Nothing yet.
    Nothing,
    End,
}

impl Reading {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(LOOK))?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &stream, EventData::new_u64(0), flags(true))?;
        let (decoder, events) = (Decoder::default(), Batch::default());
        let reader = Mutex::new(Reader { decoder, events, over: false, bytes: vec![0; READ] });
        Ok(Self { stream, epoll, reader })
    }

    /// Waits for bytes that nobody reads. They are announced once, until [`Lead`] is given back.
    pub(crate) fn wait(&self) -> io::Result<()> {
        let mut events = Vec::with_capacity(1);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads from now on, if nobody else does. `woken`: by [`Reading::wait`].
    pub(crate) fn lead(&self, woken: bool) -> Option<Lead<'_>> {
        let reader = match self.reader.try_lock() {
            Ok(reader) => reader,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            // Who reads switches epoll on afterwards.
            Err(TryLockError::WouldBlock) => return None,
        };
        let lead = Lead { stream: &self.stream, reader, _back: Back(self) };
        (woken || self.watch(false).is_ok()).then_some(lead)
    }

    fn watch(&self, on: bool) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, &self.stream, EventData::new_u64(0), flags(on))?)
    }
}

fn flags(on: bool) -> EventFlags {
    let mut flags = EventFlags::ONESHOT;
    flags.set(EventFlags::IN, on);
    flags
}

impl Lead<'_> {
    /// Reads once, into the decoder.
    pub(crate) fn read(&mut self, patience: Patience) -> io::Result<Read> {
        let flags = match patience {
            Patience::None => RecvFlags::DONTWAIT,
            Patience::Some => RecvFlags::empty(),
            Patience::Until(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left < LOOK && !self.comes_within(left)? {
                    return Ok(Read::Nothing);
                }
                RecvFlags::empty()
            }
        };
        let reader = &mut *self.reader;
        match gifts::receive(self.stream, &mut reader.bytes, flags) {
            Ok((0, _)) => Ok(Read::End),
            Ok((count, fds)) => {
                reader.decoder.push(&reader.bytes[..count]);
                Ok(Read::Some { fds, more: count == reader.bytes.len() })
            }
            Err(error) => match error.kind() {
                ErrorKind::Interrupted | ErrorKind::WouldBlock => Ok(Read::Nothing),
                _ => Err(error),
            },
        }
    }

    fn comes_within(&self, time: Duration) -> io::Result<bool> {
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
