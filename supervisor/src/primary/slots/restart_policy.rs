//! What follows a failure of a slot: a restart at once, a restart later, or none.
//!
//! The core's only randomness is here too: a seeded generator for the jitter of delays.

use std::time::Duration;

use config::spec::RestartPolicy;
use serde::{Deserialize, Serialize};

use crate::base::time::Time;
use crate::primary::rate::Rate;
use crate::primary::text;

/// The longest `backoff_min` that the first restart after health does not wait for: the default.
const SKIPPED_AT_MOST: Duration = Duration::from_millis(100);

/// The failures of one slot.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::primary) struct History {
    /// Whether a worker of this slot has been ready since the slot was last begun anew.
    ever_ready: bool,
    /// Failures since a worker was last healthy for long enough.
    in_a_row: u16,
    /// After how many of them the primary waited.
    delays: u32,
    /// The times of the failures within the window. Never more than `max_restarts` + 1.
    recent: Rate,
}

/// What follows a failure.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::primary) enum Verdict {
    Again,
    AgainAt(Time),
    /// Too many failures; the text says how many.
    TooMany(String),
}

impl History {
    pub(in crate::primary) fn became_ready(&mut self) {
        self.ever_ready = true;
    }

    /// Counts a failure of a worker that was ready for `ready_for` (`None`: it never was).
    pub(in crate::primary) fn failed(
        &mut self,
        now: Time,
        ready_for: Option<Duration>,
        policy: &RestartPolicy,
        dice: &mut Jitter,
    ) -> Verdict {
        if ready_for.is_some_and(|span| span >= policy.backoff_reset) {
            self.in_a_row = 0;
            self.delays = 0;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.recent.forget(now, policy.window);
        self.recent.note(now);
        if let Some(too_many) = self.too_many(policy) {
            return Verdict::TooMany(too_many);
        }
        let is_first = self.in_a_row == 1 && ready_for.is_some();
        if is_first && policy.backoff_min <= SKIPPED_AT_MOST {
            return Verdict::Again;
        }
        let delay = backoff(policy, self.delays);
        self.delays = self.delays.saturating_add(1);
        Verdict::AgainAt(now + dice.jitter(delay))
    }

    fn too_many(&self, policy: &RestartPolicy) -> Option<String> {
        if self.ever_ready {
            let failures = self.recent.count();
            (failures > u32::from(policy.max_restarts))
                .then(|| format!("{failures} failures within {}", text::span(policy.window)))
        } else {
            (self.in_a_row >= policy.start_retries.max(1))
                .then(|| format!("{} in a row", text::count(u32::from(self.in_a_row), "failure")))
        }
    }
}

/// The delay after the given number of delays: doubled each time, up to the longest.
pub(in crate::primary) fn backoff(policy: &RestartPolicy, delays: u32) -> Duration {
    let factor = 2_u32.checked_pow(delays).unwrap_or(u32::MAX);
    policy.backoff_min.saturating_mul(factor).min(policy.backoff_max)
}

/// Splitmix64: small, seeded, and good enough to keep slots from restarting in step.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::primary) struct Jitter(u64);

impl Jitter {
    pub(in crate::primary) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(in crate::primary) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `span`, varied by up to a fifth in both directions.
    pub(in crate::primary) fn jitter(&mut self, span: Duration) -> Duration {
        let percent = 80 + u32::try_from(self.roll() % 41).unwrap_or(20);
        span.saturating_mul(percent) / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Time {
        Time(0) + Duration::from_secs(seconds)
    }

    #[test]
    fn a_slot_that_was_never_ready_has_failed_too_often_after_its_retries() {
        let (mut history, mut dice) = (History::default(), Jitter::new(1));
        let policy = RestartPolicy::default();
        for _ in 0..2 {
            let verdict = history.failed(at(1), None, &policy, &mut dice);
            assert!(matches!(verdict, Verdict::AgainAt(_)), "{verdict:?}");
        }
        let verdict = history.failed(at(1), None, &policy, &mut dice);
        assert_eq!(verdict, Verdict::TooMany("3 failures in a row".to_owned()));
    }

    #[test]
    fn the_first_failure_after_health_is_forgiven() {
        let (mut history, mut dice) = (History::default(), Jitter::new(1));
        let policy = RestartPolicy::default();
        history.became_ready();
        assert_eq!(history.failed(at(9), Some(SECOND), &policy, &mut dice), Verdict::Again);
        let second = history.failed(at(10), Some(SECOND), &policy, &mut dice);
        let Verdict::AgainAt(again) = second else { panic!("{second:?}") };
        assert!((80..=120).contains(&again.since(at(10)).as_millis()));
        let healthy = Some(policy.backoff_reset);
        assert_eq!(history.failed(at(60), healthy, &policy, &mut dice), Verdict::Again);
    }

    #[test]
    fn a_long_delay_holds_for_the_first_restart() {
        let (mut history, mut dice) = (History::default(), Jitter::new(1));
        let policy = RestartPolicy { backoff_min: 5 * SECOND, ..RestartPolicy::default() };
        history.became_ready();
        let first = history.failed(at(9), Some(SECOND), &policy, &mut dice);
        let Verdict::AgainAt(again) = first else { panic!("{first:?}") };
        assert!((4000..=6000).contains(&again.since(at(9)).as_millis()));
    }

    #[test]
    fn too_many_failures_within_the_window_end_the_restarts() {
        let (mut history, mut dice) = (History::default(), Jitter::new(1));
        let policy = RestartPolicy { max_restarts: 2, ..RestartPolicy::default() };
        history.became_ready();
        for second in [0, 50, 100] {
            let verdict = history.failed(at(second), Some(SECOND), &policy, &mut dice);
            assert!(!matches!(verdict, Verdict::TooMany(_)), "{verdict:?}");
        }
        let verdict = history.failed(at(101), Some(SECOND), &policy, &mut dice);
        assert_eq!(verdict, Verdict::TooMany("3 failures within 60s".to_owned()));
    }

    #[test]
    fn the_delay_doubles_up_to_its_longest() {
        let policy = RestartPolicy::default();
        let delays: Vec<u128> = [0, 1, 2, 7, 8, 40].map(|n| backoff(&policy, n).as_millis()).into();
        assert_eq!(delays, [100, 200, 400, 12_800, 15_000, 15_000]);
    }
}
