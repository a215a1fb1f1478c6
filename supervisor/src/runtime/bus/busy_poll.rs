//! Whether the loop looks for what comes next for a moment, instead of sleeping at once. A question
//! that was just handed on is often answered before a sleeping CPU would have woken.
//!
//! Only while messages flow on the bus; and ever more rarely where nothing came within the moment,
//! or somebody else wanted the CPU meanwhile: the time belongs to the workers.

use std::time::Duration;

use crate::sys::usage;

/// How long it looks.
pub(in crate::runtime) const MOMENT: Duration = Duration::from_micros(30);
/// So many turns without a look follow a look in vain, at most.
const MOST: u32 = 128;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::runtime) struct BusyPoll {
    /// Something was handed on in this turn.
    flowed: bool,
    /// Turns without a look that are left, and how many there were the last time.
    skip: u32,
    skipped: u32,
    /// How often the CPU had been taken from us.
    taken: i64,
}

impl BusyPoll {
    /// Something was handed on.
    pub(in crate::runtime) fn flowed(&mut self) {
        self.flowed = true;
    }

    /// Whether to look, at the end of a turn.
    pub(in crate::runtime) fn looks(&mut self) -> bool {
        if !std::mem::take(&mut self.flowed) {
            return false;
        }
        let rests = self.skip > 0;
        self.skip = self.skip.saturating_sub(1);
        !rests
    }

    /// Whether something came while it looked.
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
        let in_vain = looks(&mut poll, 10_000, false);
        assert!((80..100).contains(&in_vain), "{in_vain}");
        // It pays again: soon it looks in each turn.
        looks(&mut poll, 2000, true);
        assert_eq!(looks(&mut poll, 100, true), 100);
        assert!(!poll.looks());
    }
}
