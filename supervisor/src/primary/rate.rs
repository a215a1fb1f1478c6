//! How many things happened within a window of time.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::time::Time;

/// The times of the things that are remembered.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::primary) struct Rate(VecDeque<Time>);

impl Rate {
    /// When the next one is allowed. `None`: now.
    pub(in crate::primary) fn free_at(
        &mut self,
        now: Time,
        most: u16,
        window: Duration,
    ) -> Option<Time> {
        self.forget(now, window);
        let most = usize::from(most.max(1));
        let oldest = self.0.len().checked_sub(most)?;
        self.0.get(oldest).map(|at| *at + window)
    }

    /// Forgets those before the window.
    pub(in crate::primary) fn forget(&mut self, now: Time, window: Duration) {
        self.0.retain(|at| now.since(*at) < window);
    }

    /// Notes one.
    pub(in crate::primary) fn note(&mut self, now: Time) {
        self.0.push_back(now);
    }

    /// How many are remembered.
    pub(in crate::primary) fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Time {
        Time(1) + Duration::from_secs(seconds)
    }

    #[test]
    fn no_more_than_allowed_fit_into_the_window() {
        let mut rate = Rate::default();
        for second in [0, 10] {
            assert_eq!(rate.free_at(at(second), 2, WINDOW), None);
            rate.note(at(second));
        }
        assert_eq!(rate.free_at(at(20), 2, WINDOW), Some(at(60)));
        assert_eq!(rate.free_at(at(60), 2, WINDOW), None);
        rate.note(at(60));
        assert_eq!(rate.free_at(at(61), 2, WINDOW), Some(at(70)));
        // A smaller number is obeyed at once.
        assert_eq!(rate.free_at(at(61), 1, WINDOW), Some(at(120)));
        assert_eq!(rate.free_at(at(300), 1, WINDOW), None);
        assert_eq!(rate.count(), 0);
    }
}
