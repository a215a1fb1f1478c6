//! What wakes the loop, what it heard, and when it ends.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::bus::busy_poll::{BusyPoll, MOMENT};
use super::source::Source;
use crate::base::ids::ClientId;
use crate::base::time::Time;
use crate::policy::hangup::Terminal;
use crate::primary::event::Event;
use crate::sys::poller::{Poller, Ready};
use crate::sys::signals::Signals;
use crate::sys::{clock, terminal};

/// See the module.
#[derive(Debug)]
pub(super) struct EventLoop {
    pub(super) poller: Poller,
    pub(super) signals: Signals,
    /// The terminal that the app was started on.
    pub(super) terminal: Terminal,
    /// What the core hears in the next step.
    pub(super) inbox: VecDeque<Event>,
    /// Clients that ask for the status.
    pub(super) lookers: Vec<ClientId>,
    /// When the core is to be asked again, if nothing happens before.
    pub(super) core_due: Option<Time>,
    /// The code with which the loop ends after this turn.
    pub(super) exit: Option<u8>,
}

impl EventLoop {
    /// One that watches the signals, and these.
    pub(super) fn new(signals: Signals, others: [(BorrowedFd<'_>, Source); 2]) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(signals.fd(), Source::Signals.token())?;
        others.into_iter().try_for_each(|(fd, source)| poller.add(fd, source.token()))?;
        let terminal = Terminal::new(terminal::had(), terminal::hangup_was_ignored());
        let (inbox, lookers) = (VecDeque::new(), Vec::new());
        Ok(Self { poller, signals, terminal, inbox, lookers, core_due: None, exit: None })
    }

    /// Whether the core need not be asked now.
    pub(super) fn is_calm(&self) -> bool {
        self.inbox.is_empty() && self.core_due.is_none_or(|due| clock::now() < due)
    }

    /// Waits for the first ready source, for at most `patience`; while messages flow, it looks for
    /// the next one for a moment first.
    pub(super) fn wait(
        &mut self,
        patience: Option<Duration>,
        busy_poll: &mut BusyPoll,
    ) -> io::Result<Vec<Ready>> {
        if busy_poll.looks() && patience.is_none_or(|time| time > MOMENT) {
            let until = clock::now() + MOMENT;
            loop {
                let ready = self.poller.wait(Some(Duration::ZERO))?;
                let seen = !ready.is_empty();
                if seen || clock::now() >= until {
                    busy_poll.saw(seen);
                    if seen {
                        return Ok(ready);
                    }
                    break;
                }
            }
        }
        self.poller.wait(patience)
    }
}
