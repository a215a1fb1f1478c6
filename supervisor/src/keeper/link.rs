//! The primary's end of the channel to its keeper.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};

use super::SharedFds;
use super::messages::{ANSWER, Answer, Ask};
use crate::base::exit::Exit;
use crate::snapshot::Memory;
use crate::sys::pidfd::{self, Pid};
use crate::sys::poll::poll;
use crate::sys::{clock, packets};

/// The longest wait for an answer. An answer takes microseconds, or as long as the service manager
/// takes to read; a stopped keeper gives none.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(crate) struct Link {
    shared: &'static SharedFds,
    /// The pidfd of the keeper: readable when the keeper has ended.
    keeper: OwnedFd,
    /// The keeper has ended. From then on, this process is the parent of the workers.
    is_lost: bool,
    /// The number of the last request.
    number: Cell<u8>,
}

impl Link {
    /// For a new primary. It discards answers to its predecessor.
    pub(crate) fn new(shared: &'static SharedFds) -> io::Result<Self> {
        let keeper = pidfd::open(shared.keeper)?;
        let mut bytes = [0u8; ANSWER];
        while packets::receive(shared.primary_end.as_fd(), &mut bytes).is_ok() {}
        Ok(Self { shared, keeper, is_lost: false, number: Cell::new(0) })
    }

    pub(crate) fn keeper(&self) -> Pid {
        self.shared.keeper
    }

    /// Notes that the keeper has ended.
    pub(crate) fn lose(&mut self) {
        self.is_lost = true;
    }

    /// Whether the keeper has ended.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// The memory that keeps the snapshot for our successor.
    pub(crate) fn memory(&self) -> &Memory {
        &self.shared.memory
    }

    /// The descriptor for the poller.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.keeper.as_fd()
    }

    /// Tells the keeper that this child is a worker.
    pub(crate) fn own(&self, pid: Pid) -> io::Result<()> {
        if self.is_lost {
            return Ok(());
        }
        match self.ask(Ask::Own(pid))? {
            Answer::Done => Ok(()),
            _ => Err(io::Error::other("the keeper has no room for another worker")),
        }
    }

    /// Tells the keeper that this child is no worker any more: the keeper reaps it when it ends.
    pub(crate) fn disown(&self, pid: Pid) -> io::Result<()> {
        if self.is_lost {
            return Ok(());
        }
        match self.ask(Ask::Disown(pid))? {
            Answer::Done => Ok(()),
            _ => Err(io::Error::other("the keeper does not know it")),
        }
    }

    /// How a worker whose pidfd is readable ended. It stays a zombie. `None`: it is still alive.
    pub(crate) fn peek(&self, pid: Pid) -> Option<Exit> {
        if self.is_lost {
            return pidfd::peek_child(pid).unwrap_or(Some(Exit::Unknown));
        }
        self.how_it_ended(Ask::Peek(pid))
    }

    /// Like [`Self::peek`], and reaps the worker.
    pub(crate) fn reap(&self, pid: Pid) -> Option<Exit> {
        if self.is_lost {
            return pidfd::reap_child(pid).unwrap_or(Some(Exit::Unknown));
        }
        self.how_it_ended(Ask::Reap(pid))
    }

    fn how_it_ended(&self, ask: Ask<'_>) -> Option<Exit> {
        match self.ask(ask) {
            Ok(Answer::Ended(exit)) => Some(exit),
            Ok(Answer::Running) => None,
            // The keeper is gone, or the child is no longer its own: the exit stays unknown.
            Ok(Answer::Done | Answer::Refused) | Err(_) => Some(Exit::Unknown),
        }
    }

    /// Tells the keeper that it knows all workers, and may reap its other children.
    pub(crate) fn settled(&self) -> io::Result<()> {
        self.say(Ask::Settled)
    }

    /// Tells the keeper that this primary is about to end and needs no successor.
    pub(crate) fn over(&self) -> io::Result<()> {
        self.say(Ask::Over)
    }

    /// Sends a message to the service manager through the keeper, with or without a descriptor.
    pub(crate) fn tell(&self, text: &str, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let number = fd.and_then(|fd| u32::try_from(fd.as_raw_fd()).ok()).map_or(0, |fd| fd + 1);
        // The keeper answers after it has sent the message. Until then the descriptor stays open.
        match self.ask(Ask::Tell(number, text.as_bytes()))? {
            Answer::Done => Ok(()),
            _ => Err(io::Error::other("the keeper could not send it")),
        }
    }

    /// Tells the keeper that our loop turns. Without the next call within the span, the keeper
    /// kills and replaces this primary.
    pub(crate) fn alive(&self, within: Duration) -> io::Result<()> {
        self.say(Ask::Alive(u32::try_from(within.as_millis()).unwrap_or(u32::MAX)))
    }

    /// Tells the keeper that this primary is about to end, and that `program` will replace both.
    pub(crate) fn replace(&self, program: &Path) -> io::Result<()> {
        self.say(Ask::Replace(program))
    }

    fn say(&self, ask: Ask<'_>) -> io::Result<()> {
        if self.is_lost {
            return Err(io::Error::new(ErrorKind::BrokenPipe, "the keeper is gone"));
        }
        let bytes = ask.encode(self.number.get());
        let until = clock::now() + PATIENCE;
        loop {
            match packets::send(self.shared.primary_end.as_fd(), &bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(PollFlags::POLLOUT, until)?;
                }
                sent => return sent,
            }
        }
    }

    fn ask(&self, ask: Ask<'_>) -> io::Result<Answer> {
        let number = self.number.get().wrapping_add(1);
        self.number.set(number);
        self.say(ask)?;
        let until = clock::now() + PATIENCE;
        let mut bytes = [0u8; ANSWER];
        loop {
            match packets::receive(self.shared.primary_end.as_fd(), &mut bytes) {
                Ok(count) => match Answer::decode(&bytes[..count]) {
                    Some((answer, of)) if of == number => return Ok(answer),
                    // A late answer to an earlier request.
                    Some(_) => {}
                    None => return Err(ErrorKind::InvalidData.into()),
                },
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(PollFlags::POLLIN, until)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the channel is ready. Its other end is in our own table of descriptors, so only
    /// the pidfd shows the death of the keeper.
    fn wait(&self, ready: PollFlags, until: crate::base::time::Time) -> io::Result<()> {
        let left = until.since(clock::now());
        if left.is_zero() {
            return Err(io::Error::new(ErrorKind::TimedOut, "the keeper does not answer"));
        }
        let mut sources = [
            PollFd::new(self.shared.primary_end.as_fd(), ready),
            PollFd::new(self.keeper.as_fd(), PollFlags::POLLIN),
        ];
        // A signal ends the wait early. The loop takes it later; the wait for the answer goes on.
        poll(&mut sources, Some(left))?;
        let [channel, keeper] = sources.map(|source| source.any().unwrap_or(true));
        if keeper && !channel {
            return Err(io::Error::new(ErrorKind::BrokenPipe, "the keeper is gone"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_is_not_taken_for_the_next_one() {
        let shared = Box::leak(Box::new(SharedFds::make(Memory::new).unwrap()));
        let link = Link::new(shared).unwrap();
        let answer = |answer: Answer, number| {
            packets::send(shared.keeper_end.as_fd(), &answer.encode(number)).unwrap();
        };
        // First a late answer to an earlier request, then the answer to this one.
        answer(Answer::Refused, 0);
        answer(Answer::Done, 1);
        link.own(Pid(7)).unwrap();
        answer(Answer::Done, 1);
        answer(Answer::Refused, 2);
        assert!(link.own(Pid(8)).is_err());
    }
}
