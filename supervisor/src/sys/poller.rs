//! Level-triggered epoll: it reports an fd again that is still ready, so no caller has to read one
//! to the end in a turn. It knows tokens, not what they stand for.
//!
//! Remove an fd before you close it: otherwise a copy of it in another process keeps it in the set
//! for ever.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::Timespec;

/// The most fds that one wait reports.
const BATCH: usize = 256;

/// A set of fds to wait for.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
}

/// One ready fd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) token: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The other side closed, or the fd is in error; there may still be something to read.
    pub(crate) hangup: bool,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll })
    }

    /// Waits for this fd to become readable.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token), EventFlags::IN)?)
    }

    /// Waits for this fd to become readable, and with `writable` also writable.
    pub(crate) fn modify(&self, fd: BorrowedFd<'_>, token: u64, writable: bool) -> io::Result<()> {
        self.watch(fd, token, true, writable)
    }

    /// Waits for this fd to become readable, writable, both or neither. A hangup is always
    /// reported.
    pub(crate) fn watch(
        &self,
        fd: BorrowedFd<'_>,
        token: u64,
        readable: bool,
        writable: bool,
    ) -> io::Result<()> {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, readable);
        flags.set(EventFlags::OUT, writable);
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(token), flags)?)
    }

    /// Stops waiting for this fd. An fd that is not in the set is no error.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) {
        // The only possible errors mean that the fd is not in the set.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Sleeps until an fd is ready or the timeout has passed. A signal ends the wait early.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Vec<Ready>> {
        let timeout = timeout.map(whole_milliseconds);
        let mut events = [MaybeUninit::uninit(); BATCH];
        match epoll::wait(&self.epoll, &mut events[..], timeout.as_ref()) {
            Ok((happened, _)) => Ok(happened.iter().map(ready).collect()),
            Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Rounded up, so that a deadline has passed when the wait for it ends, and the loop does not spin
/// through its last millisecond.
fn whole_milliseconds(span: Duration) -> Timespec {
    /// The longest timeout where the kernel has no finer one: 24 days.
    const LONGEST: i64 = i32::MAX as i64;
    let ms = i64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(LONGEST).min(LONGEST);
    Timespec { tv_sec: ms / 1000, tv_nsec: (ms % 1000) * 1_000_000 }
}

fn ready(event: &Event) -> Ready {
    let flags = event.flags;
    let gone = EventFlags::HUP | EventFlags::RDHUP | EventFlags::ERR;
    Ready {
        token: event.data.u64(),
        readable: flags.contains(EventFlags::IN),
        writable: flags.contains(EventFlags::OUT),
        hangup: flags.intersects(gone),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::sys::clock;

    #[test]
    fn readable_again_until_read_and_hangup() {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        let mut poller = Poller::new().unwrap();
        poller.add(here.as_fd(), 7).unwrap();
        assert!(poller.wait(Some(Duration::ZERO)).unwrap().is_empty());
        there.write_all(b"x").unwrap();
        for _ in 0..2 {
            let ready = poller.wait(None).unwrap();
            assert_eq!(ready.len(), 1);
            assert!(ready[0].token == 7 && ready[0].readable && !ready[0].writable);
        }
        poller.modify(here.as_fd(), 8, true).unwrap();
        here.read_exact(&mut [0]).unwrap();
        let ready = poller.wait(None).unwrap();
        assert!(ready[0].token == 8 && ready[0].writable && !ready[0].readable);
        drop(there);
        assert!(poller.wait(None).unwrap()[0].hangup);
        poller.remove(here.as_fd());
        poller.remove(here.as_fd());
        assert!(poller.wait(Some(Duration::ZERO)).unwrap().is_empty());
    }

    #[test]
    fn a_wait_is_never_shorter_than_asked() {
        let mut poller = Poller::new().unwrap();
        for nanos in [1, 999_999, 1_000_001, 2_500_000] {
            let span = Duration::from_nanos(nanos);
            let before = clock::now();
            assert!(poller.wait(Some(span)).unwrap().is_empty());
            assert!(clock::now().since(before) >= span);
        }
    }
}
