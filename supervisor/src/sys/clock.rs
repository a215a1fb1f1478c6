//! The two clocks. No other module reads a clock.

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::base::time::Time;

/// CLOCK_MONOTONIC: the same reading before and after an exec of ourselves.
pub(crate) fn now() -> Time {
    Time(nanoseconds(clock_gettime(ClockId::Monotonic)))
}

/// Wall-clock milliseconds since 1970, only for display and logs.
pub(crate) fn unix_ms() -> u64 {
    nanoseconds(clock_gettime(ClockId::Realtime)) / 1_000_000
}

fn nanoseconds(reading: Timespec) -> u64 {
    let seconds = u64::try_from(reading.tv_sec).unwrap_or(0);
    let rest = u64::try_from(reading.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_does_not_go_back_and_wall_time_is_this_century() {
        let first = now();
        assert!(now() >= first);
        assert!(unix_ms() > 1_600_000_000_000);
    }
}
