//! When a worker's Node channel is read. What begins something is only looked at until its
//! consequences are in the state; acknowledgements, which come in great numbers, are read late and
//! many at a time.

use std::os::fd::AsFd;
use std::time::Duration;

use crate::base::ids::WorkerId;
use crate::base::time::Time;
use crate::runtime::Runtime;
use crate::runtime::workers::Child;
use crate::sys::channel;

/// How long acknowledgements may wait until they are read.
const ANSWERS: Duration = Duration::from_millis(1);
/// So many connections of one worker that have no answer yet are enough to look at once.
const ANSWERS_AT_ONCE: usize = 24;

impl Runtime {
    /// Looks at what waits, and leaves the whole lines there until their consequences are in the
    /// state: a successor reads them again. That costs a call more, which only matters where a
    /// worker acknowledges connections; and those answers nobody needs twice.
    pub(in crate::runtime) fn read_channel_first(&mut self, worker: WorkerId, bytes: &mut [u8]) {
        let Some(node) = self.node(worker) else { return };
        if node.looked_at > 0 {
            return;
        }
        let whole = match node.link.pending() {
            0 => channel::whole_lines(node.stream.as_fd(), bytes),
            _ => None,
        };
        let Some(count) = whole else {
            self.read_channel_once(worker, bytes);
            return;
        };
        node.looked_at = count;
        self.channels_looked_at = true;
        self.hear_channel(worker, &bytes[..count], Vec::new());
    }

    /// What was looked at is in the state now.
    pub(in crate::runtime) fn done_with_channels(&mut self) {
        if !std::mem::take(&mut self.channels_looked_at) {
            return;
        }
        let looked_at = |child: &&Child| child.node.as_ref().is_some_and(|n| n.looked_at > 0);
        let all = self.children.values().filter(looked_at).map(|child| child.id);
        for worker in all.collect::<Vec<_>>() {
            self.done_with_channel(worker);
        }
    }

    /// The same for one that is to be read on now.
    pub(in crate::runtime) fn done_with_channel(&mut self, worker: WorkerId) {
        let Some(node) = self.children.get_mut(&worker).and_then(|c| c.node.as_mut()) else {
            return;
        };
        let looked_at = std::mem::take(&mut node.looked_at);
        channel::skip(node.stream.as_fd(), looked_at, &mut self.channel_bytes);
    }

    /// A worker that gets connections in quick succession acknowledges each by two lines. They are
    /// read some at a time, for each one that woke us would cost more than it says.
    pub(in crate::runtime) fn read_answers_later(&mut self, worker: WorkerId, now: Time) {
        let Some(node) = self.node(worker) else { return };
        let many = node.link.pending() >= ANSWERS_AT_ONCE;
        if !std::mem::replace(&mut node.read_later, true) {
            self.watch_channel(worker);
        }
        let due = if many { now } else { now + ANSWERS };
        self.answers_due = Some(self.answers_due.map_or(due, |other| other.min(due)));
    }

    /// Reads what was left for later. Who has nothing to say is waited for again.
    pub(in crate::runtime) fn read_answers(&mut self, now: Time) {
        if self.answers_due.is_none_or(|due| now < due) {
            return;
        }
        self.answers_due = None;
        let later = |child: &Child| child.node.as_ref().is_some_and(|node| node.read_later);
        let workers = self.children.values().filter(|child| later(child)).map(|child| child.id);
        for worker in workers.collect::<Vec<_>>() {
            let before = self.node(worker).map(|node| node.link.pending());
            self.read_channel(worker, 1);
            self.write_channel(worker);
            let Some(node) = self.node(worker) else { continue };
            if node.link.pending() < 2 || before == Some(node.link.pending()) {
                node.read_later = false;
                self.watch_channel(worker);
            } else {
                self.answers_due = Some(now + ANSWERS);
            }
        }
    }
}
