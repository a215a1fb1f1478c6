//! Which slot answered: turns the pids in the answers into slots. Workers that are gone count if
//! they were recorded while they lived.

use std::collections::BTreeMap;

use crate::client::Tally;
use crate::home::Home;

/// The slot of every recorded worker of an app, by pid.
#[derive(Debug, Clone, Default)]
pub struct SlotCounts {
    slots: BTreeMap<u32, u16>,
}

impl SlotCounts {
    /// Records the workers that live now.
    pub fn new(home: &Home, name: &str) -> Self {
        let mut counts = Self::default();
        counts.look(home, name);
        counts
    }

    /// Also records the workers that live now.
    pub fn look(&mut self, home: &Home, name: &str) {
        let workers = home.app(name).workers;
        self.slots.extend(workers.iter().filter_map(|w| Some((w.pid?, w.slot))));
    }

    /// The slot of a process.
    #[track_caller]
    pub fn slot(&self, pid: u32) -> u16 {
        *self.slots.get(&pid).unwrap_or_else(|| panic!("{pid} answers but was never listed"))
    }

    /// The number of answers of each slot, including slots that never answered.
    #[track_caller]
    pub fn count(&self, tally: &Tally) -> BTreeMap<u16, u64> {
        let mut counts: BTreeMap<u16, u64> = self.slots.values().map(|slot| (*slot, 0)).collect();
        for (pid, count) in &tally.by_pid {
            *counts.entry(self.slot(*pid)).or_default() += count;
        }
        counts
    }
}

/// The difference between the largest and the smallest of them.
pub fn spread<'a>(counts: impl IntoIterator<Item = &'a u64>) -> u64 {
    let (least, most) =
        counts.into_iter().fold((u64::MAX, 0), |(low, high), n| (low.min(*n), high.max(*n)));
    most.saturating_sub(least)
}
