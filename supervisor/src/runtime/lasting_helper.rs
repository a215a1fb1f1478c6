//! A process of this program that stays and exchanges messages with the primary, each of bounded
//! size. It does what may take long or hang. It is started when it is needed, and again, after a
//! delay, when it has ended.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Child;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::helper;
use super::source::Source;
use crate::base::time::Time;
use crate::sys::poller::Poller;
use crate::sys::{channel, packets};

/// Bytes of the longest message.
pub(crate) const MOST_BYTES: usize = 64 << 10;
/// The delay before it is started again doubles from this to `SLOWEST`.
const FASTEST: Duration = Duration::from_millis(100);
const SLOWEST: Duration = Duration::from_secs(5);
/// Ends in a row without a message after which nothing is expected of it.
const HOPELESS: u32 = 3;

/// See the module.
#[derive(Debug)]
pub(super) struct LastingHelper {
    /// The verb of that process.
    verb: &'static str,
    /// The poller reports its messages and its end as this.
    source: Source,
    process: Option<Process>,
    /// Those that were killed and may still be ending.
    ending: Vec<Child>,
    /// It is not started before.
    rests_until: Option<Time>,
    /// Ends in a row without a message.
    ends: u32,
}

#[derive(Debug)]
struct Process {
    child: Child,
    channel: OwnedFd,
}

impl LastingHelper {
    /// One that has not been started.
    pub(super) fn new(verb: &'static str, source: Source) -> Self {
        Self { verb, source, process: None, ending: Vec::new(), rests_until: None, ends: 0 }
    }

    /// Whether the process runs, as far as is known.
    pub(super) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// When it can be started: `None` means at once, or that it runs.
    pub(super) fn ready_at(&self) -> Option<Time> {
        self.rests_until.filter(|_| self.process.is_none())
    }

    /// Starts it if need be. Returns whether it runs now.
    pub(super) fn is_up(&mut self, poller: &Poller, now: Time) -> bool {
        if self.process.is_some() {
            return true;
        }
        if self.rests_until.is_some_and(|until| until > now) {
            return false;
        }
        match start(self.verb, self.source, poller) {
            Ok(process) => self.process = Some(process),
            Err(_) => self.rest(now),
        }
        self.process.is_some()
    }

    /// Whether it has ended again and again without a message.
    pub(super) fn is_hopeless(&self) -> bool {
        self.ends >= HOPELESS
    }

    /// Sends it a message. An error: the message is too long (`InvalidInput`), or it does not read;
    /// then it is of no use.
    pub(super) fn send(
        &mut self,
        message: &impl Serialize,
        fd: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let Some(process) = &self.process else { return Err(io::ErrorKind::NotConnected.into()) };
        let bytes = serde_json::to_vec(message)?;
        if bytes.len() > MOST_BYTES {
            let why = format!("the message is longer than {MOST_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        match channel::send(process.channel.as_fd(), &bytes, fd)? {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// The next message that has come. An error: it has ended, or makes no sense.
    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let Some(process) = &self.process else { return Ok(None) };
        let mut space = vec![0; MOST_BYTES];
        match packets::receive(process.channel.as_fd(), &mut space) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                let message = serde_json::from_slice(&space[..length])?;
                self.ends = 0;
                Ok(Some(message))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ends it. It is started again after a delay, when it is needed.
    pub(super) fn end(&mut self, poller: &Poller, now: Time) {
        let Some(Process { mut child, channel }) = self.process.take() else { return };
        poller.remove(channel.as_fd());
        helper::kill(&mut child);
        self.ending.push(child);
        self.rest(now);
    }

    /// Ends it because it is not needed any more.
    pub(super) fn dismiss(&mut self, poller: &Poller, now: Time) {
        self.end(poller, now);
        (self.rests_until, self.ends) = (None, 0);
    }

    /// Takes the statuses of those that have ended.
    pub(super) fn reap(&mut self) {
        helper::reap(&mut self.ending);
    }

    fn rest(&mut self, now: Time) {
        let delay = FASTEST.saturating_mul(1 << self.ends.min(10)).min(SLOWEST);
        self.ends = self.ends.saturating_add(1);
        self.rests_until = Some(now + delay);
    }
}

fn start(verb: &str, source: Source, poller: &Poller) -> io::Result<Process> {
    let (ours, theirs) = packets::pair()?;
    let mut child = helper::start_own(verb, theirs)?;
    if let Err(error) = poller.add(ours.as_fd(), source.token()) {
        helper::end(&mut child);
        return Err(error);
    }
    Ok(Process { child, channel: ours })
}
