//! Whether the loop polls for the next event for a moment instead of sleeping at once. A request
//! that was just passed on is often answered before a sleeping CPU would have woken.
//!
//! The loop polls only while messages flow on the bus. It polls less and less often if nothing came
//! within the moment, or if another process wanted the CPU: that time belongs to the workers.

use std::time::Duration;

use crate::sys::usage;

/// How long the loop polls.
pub(in crate::runtime) const MOMENT: Duration = Duration::from_micros(30);
/// The most turns that the loop sleeps at once after a poll that found nothing.
const MOST: u32 = 128;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::runtime) struct BusyPoll {
    /// The loop passed a message on in this turn.
    flowed: bool,
    /// How many turns are left without a poll.
    skip: u32,
    /// How many turns without a poll followed the last one.
    skipped: u32,
    /// How often the kernel had preempted this process.
    taken: i64,
}

impl BusyPoll {
    /// The loop passed a message on.
    pub(in crate::runtime) fn flowed(&mut self) {
        self.flowed = true;
    }

    /// Whether to poll at the end of this turn.
    pub(in crate::runtime) fn looks(&mut self) -> bool {
        if !std::mem::take(&mut self.flowed) {
            return false;
        }
        let rests = self.skip > 0;
        self.skip = self.skip.saturating_sub(1);
        !rests
    }

    /// The loop has polled. `something`: an event came in the moment.
    pub(in crate::runtime) fn saw(&mut self, something: bool) {
        let taken = usage::times_preempted();
        let free = std::mem::replace(&mut self.taken, taken) == taken;
        self.judge(something && free);
    }

    fn judge(&mut self, paid: bool) {
        self.skipped = if paid { self.skipped * 7 / 8 } else { (self.skipped * 2 + 1).min(MOST) };
        self.skip = self.skipped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(poll: &mut BusyPoll, turns: usize, sees: bool) -> usize {
        let mut count = 0;
        for _ in 0..turns {
            poll.flowed();
            if poll.looks() {
                count += 1;
                poll.judge(sees);
            }
        }
        count
    }

    #[test]
    fn it_looks_while_that_pays() {
        let mut poll = BusyPoll::default();
        assert!(!poll.looks(), "nothing flows");
        assert_eq!(looks(&mut poll, 1000, true), 1000);
        let without_success = looks(&mut poll, 10_000, false);
        assert!((80..100).contains(&without_success), "{without_success}");
        // It pays again: soon it looks in each turn.
        looks(&mut poll, 2000, true);
        assert_eq!(looks(&mut poll, 100, true), 100);
        assert!(!poll.looks());
    }
}
