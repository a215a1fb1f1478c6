//! Level-triggered epoll: it reports an fd again that is still ready, so no caller has to read one
//! to the end in a turn. It knows tokens, not what they stand for.
//!
//! Remove an fd before you close it: otherwise a copy of it in another process keeps it in the set
//! for ever.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// The most fds that one wait reports.
const BATCH: usize = 256;

/// A set of fds to wait for.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: Epoll,
    /// The kernel writes here what happened.
    events: Box<[EpollEvent]>,
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
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { epoll, events: vec![EpollEvent::empty(); BATCH].into() })
    }

    /// Waits for this fd to become readable.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        Ok(self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token))?)
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
        let mut flags = EpollFlags::empty();
        flags.set(EpollFlags::EPOLLIN, readable);
        flags.set(EpollFlags::EPOLLOUT, writable);
        Ok(self.epoll.modify(fd, &mut EpollEvent::new(flags, token))?)
    }

    /// Stops waiting for this fd. An fd that is not in the set is no error.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) {
        // The only possible errors mean that the fd is not in the set.
        let _ = self.epoll.delete(fd);
    }

    /// Sleeps until an fd is ready or the timeout has passed. A signal ends the wait early.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Vec<Ready>> {
        let timeout = timeout.map_or(EpollTimeout::NONE, whole_milliseconds);
        match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => Ok(self.events[..count].iter().map(ready).collect()),
            Err(Errno::EINTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Rounded up, so that a deadline has passed when the wait for it ends, and the loop does not spin
/// through its last millisecond. At most 24 days, the longest timeout of the kernel.
fn whole_milliseconds(span: Duration) -> EpollTimeout {
    let milliseconds = i32::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
    EpollTimeout::try_from(milliseconds).unwrap_or(EpollTimeout::MAX)
}

fn ready(event: &EpollEvent) -> Ready {
    let flags = event.events();
    let gone = EpollFlags::EPOLLHUP | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLERR;
    Ready {
        token: event.data(),
        readable: flags.contains(EpollFlags::EPOLLIN),
        writable: flags.contains(EpollFlags::EPOLLOUT),
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
