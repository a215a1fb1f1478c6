//! The process that probes, as the primary sees it: questions go out, some with a connection, and
//! answers come back, each as one message of bounded size. It is started when something is to be
//! probed, and again, after a delay, when it has ended.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::questions::{Answer, MOST_BYTES, Question};
use crate::base::time::Time;
use crate::runtime::helper;
use crate::runtime::source::Source;
use crate::sys::exec::OWN_PROGRAM;
use crate::sys::poller::Poller;
use crate::sys::{channel, packets};

/// The verb of that process.
const VERB: &str = "prober";
/// The delay before it is started again doubles from this to `SLOWEST`.
const FASTEST: Duration = Duration::from_millis(100);
const SLOWEST: Duration = Duration::from_secs(5);
/// Ends in a row without an answer after which nothing is expected of it.
const HOPELESS: u32 = 3;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Prober {
    process: Option<Process>,
    /// Those that were killed and may still be ending.
    ending: Vec<Child>,
    /// It is not started before.
    rests_until: Option<Time>,
    /// Ends in a row without an answer.
    ends: u32,
}

#[derive(Debug)]
struct Process {
    child: Child,
    channel: OwnedFd,
}

impl Prober {
    /// When it can be asked: `None` means at once.
    pub(super) fn ready_at(&self) -> Option<Time> {
        self.rests_until.filter(|_| self.process.is_none())
    }

    /// Starts it if need be. Returns whether it can be asked now.
    pub(super) fn is_up(&mut self, poller: &Poller, now: Time) -> bool {
        if self.process.is_some() {
            return true;
        }
        if self.rests_until.is_some_and(|until| until > now) {
            return false;
        }
        match start(poller) {
            Ok(process) => self.process = Some(process),
            Err(_) => self.rest(now),
        }
        self.process.is_some()
    }

    /// Whether it has ended again and again without an answer.
    pub(super) fn is_hopeless(&self) -> bool {
        self.ends >= HOPELESS
    }

    /// Asks. An error: the question is too long, or it does not read; then it is of no use.
    pub(super) fn ask(
        &mut self,
        question: &Question,
        connection: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let Some(process) = &self.process else { return Err(io::ErrorKind::NotConnected.into()) };
        let bytes = serde_json::to_vec(question)?;
        if bytes.len() > MOST_BYTES {
            let why = format!("the probe is longer than {MOST_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        match channel::send(process.channel.as_fd(), &bytes, connection)? {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// The next answer that has come. An error: it has ended, or makes no sense.
    pub(super) fn answer(&mut self) -> io::Result<Option<Answer>> {
        let Some(process) = &self.process else { return Ok(None) };
        let mut space = vec![0; MOST_BYTES];
        match packets::receive(process.channel.as_fd(), &mut space) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                let answer = serde_json::from_slice(&space[..length])?;
                self.ends = 0;
                Ok(Some(answer))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ends it. It is started again after a delay, when something is to be probed.
    pub(super) fn end(&mut self, poller: &Poller, now: Time) {
        let Some(Process { mut child, channel }) = self.process.take() else { return };
        poller.remove(channel.as_fd());
        helper::kill(&mut child);
        self.ending.push(child);
        self.rest(now);
    }

    /// Ends it because nothing is to be probed any more.
    pub(super) fn dismiss(&mut self, poller: &Poller, now: Time) {
        self.end(poller, now);
        (self.rests_until, self.ends) = (None, 0);
    }

    /// Takes the statuses of those that have ended.
    pub(super) fn reap(&mut self) {
        self.ending.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    fn rest(&mut self, now: Time) {
        let delay = FASTEST.saturating_mul(1 << self.ends.min(10)).min(SLOWEST);
        self.ends = self.ends.saturating_add(1);
        self.rests_until = Some(now + delay);
    }
}

fn start(poller: &Poller) -> io::Result<Process> {
    let (ours, theirs) = packets::pair()?;
    let mut command = Command::new(OWN_PROGRAM);
    command.arg(VERB).stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn()?;
    if let Err(error) = poller.add(ours.as_fd(), Source::Prober.token()) {
        helper::end(&mut child);
        return Err(error);
    }
    Ok(Process { child, channel: ours })
}
