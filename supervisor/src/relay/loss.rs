//! What the death of a primary loses: the messages that waited in it for its workers. The runtime
//! keeps their numbers in the loss journal, which outlives the primary; the messages are gone.

use super::Relay;
use crate::base::ids::WorkerId;

/// The losses of one worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Messages that wait for the worker or are being written.
    pub(crate) waiting: u64,
    /// Messages to it that were dropped.
    pub(crate) dropped: u64,
    /// The first waiting message was written in part, or may have been.
    pub(crate) half_written: bool,
}

impl Relay {
    /// What the worker would lose now.
    pub(crate) fn waiting(&self, worker: WorkerId) -> Waiting {
        let member = self.members.get(&worker);
        member.map_or_else(Waiting::default, |member| Waiting {
            waiting: u64::try_from(member.queue.len()).unwrap_or(u64::MAX),
            dropped: member.lost,
            half_written: member.queue.is_half_written(),
        })
    }

    /// Adds what the worker lost with the previous primary. The next notice about lost messages
    /// tells the worker.
    pub(crate) fn lost_with_primary(&mut self, worker: WorkerId, waited: Waiting) {
        self.counts.dropped_ended += waited.waiting;
        if let Some(member) = self.members.get_mut(&worker) {
            member.lost = waited.dropped + waited.waiting;
            member.told_lost = waited.dropped;
            member.warn_at = member.lost.saturating_mul(10).max(1);
        }
    }
}
