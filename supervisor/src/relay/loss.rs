//! What is lost with a primary: what waited in it for its workers. The runtime keeps the numbers
//! where they outlive it; the messages themselves are gone.

use super::Relay;
use crate::base::ids::WorkerId;

/// Of one worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Messages that wait for it or are being written.
    pub(crate) waiting: u64,
    /// Messages to it that were dropped.
    pub(crate) dropped: u64,
    /// The first of those that wait was written in part, or may have been.
    pub(crate) half_written: bool,
}

impl Relay {
    /// What would be lost now.
    pub(crate) fn waiting(&self, worker: WorkerId) -> Waiting {
        let member = self.members.get(&worker);
        member.map_or_else(Waiting::default, |member| Waiting {
            waiting: u64::try_from(member.queue.len()).unwrap_or(u64::MAX),
            dropped: member.lost,
            half_written: member.queue.is_half_written(),
        })
    }

    /// It was lost with the primary before this one. The worker is told with the others that it
    /// loses.
    pub(crate) fn lost_with_primary(&mut self, worker: WorkerId, waited: Waiting) {
        self.counts.dropped_ended += waited.waiting;
        if let Some(member) = self.members.get_mut(&worker) {
            member.lost = waited.dropped + waited.waiting;
            member.told_lost = waited.dropped;
            member.warn_at = member.lost.saturating_mul(10).max(1);
        }
    }
}
