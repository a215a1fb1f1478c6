//! A token bucket: a request or a line takes a token, and tokens come back at a steady rate.

use std::time::{Duration, Instant};

/// The longest time that a refused request is told to wait: an hour.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// A reading of a clock.
pub trait Moment: Copy {
    /// The time that has passed since `earlier`; zero if `earlier` is later than this.
    fn since(self, earlier: Self) -> Duration;
}

impl Moment for Instant {
    fn since(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

/// See the module.
#[derive(Debug)]
pub struct TokenBucket<T> {
    /// The tokens that come back in a second.
    rate: f64,
    /// The most tokens that it holds.
    burst: f64,
    tokens: f64,
    filled: T,
}

impl<T: Moment> TokenBucket<T> {
    /// A full bucket.
    pub fn new(rate: f64, burst: f64, now: T) -> Self {
        Self { rate, burst, tokens: burst, filled: now }
    }

    /// Sets another rate and size. The tokens stay, as far as they fit.
    pub fn resize(&mut self, rate: f64, burst: f64, now: T) {
        self.fill(now);
        self.rate = rate;
        self.burst = burst;
        self.tokens = self.tokens.min(burst);
    }

    fn fill(&mut self, now: T) {
        let new = now.since(self.filled).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + new).min(self.burst);
        self.filled = now;
    }

    /// Takes a token. An error is the time until there will be one.
    pub fn take(&mut self, now: T) -> Result<(), Duration> {
        if self.take_up_to(1, now) == 1 {
            return Ok(());
        }
        let seconds = ((1.0 - self.tokens) / self.rate).min(MAX_WAIT.as_secs_f64());
        Err(Duration::from_secs_f64(seconds))
    }

    /// Takes as many tokens as there are, at most `most`. Returns how many.
    pub fn take_up_to(&mut self, most: u32, now: T) -> u32 {
        self.fill(now);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
        let whole = self.tokens as u32;
        let taken = whole.min(most);
        self.tokens -= f64::from(taken);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds.
    #[derive(Clone, Copy)]
    struct At(u64);

    impl Moment for At {
        fn since(self, earlier: Self) -> Duration {
            Duration::from_millis(self.0.saturating_sub(earlier.0))
        }
    }

    #[test]
    fn tokens_come_back_at_the_rate_and_do_not_pile_up() {
        let mut bucket = TokenBucket::new(10.0, 5.0, At(0));
        assert_eq!(bucket.take_up_to(9, At(0)), 5);
        assert_eq!(bucket.take(At(0)), Err(Duration::from_millis(100)));
        assert_eq!((bucket.take(At(100)), bucket.take_up_to(9, At(150))), (Ok(()), 0));
        assert_eq!(bucket.take_up_to(9, At(200)), 1);
        assert_eq!(bucket.take_up_to(9, At(9000)), 5);
        // A clock that goes back adds nothing.
        assert_eq!(bucket.take_up_to(9, At(10)), 0);
        bucket.resize(1000.0, 2.0, At(10));
        assert_eq!(bucket.take_up_to(9, At(1000)), 2);
    }
}
