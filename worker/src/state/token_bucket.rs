//! A token bucket: a request takes a token, and tokens come back at a steady rate.

use std::time::{Duration, Instant};

/// The longest time that a refused request is told to wait: an hour.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// See the module.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    /// The tokens that come back in a second.
    rate: f64,
    /// The most tokens that it holds.
    burst: f64,
    tokens: f64,
    filled: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn new(rate: f64, burst: f64, now: Instant) -> Self {
        Self { rate, burst, tokens: burst, filled: now }
    }

    /// Sets another rate and size. The tokens stay, as far as they fit.
    pub(crate) fn resize(&mut self, rate: f64, burst: f64, now: Instant) {
        self.fill(now);
        self.rate = rate;
        self.burst = burst;
        self.tokens = self.tokens.min(burst);
    }

    fn fill(&mut self, now: Instant) {
        let new = now.saturating_duration_since(self.filled).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + new).min(self.burst);
        self.filled = now;
    }

    /// Takes a token. An error is the time until there will be one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.fill(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let seconds = ((1.0 - self.tokens) / self.rate).min(MAX_WAIT.as_secs_f64());
        Err(Duration::from_secs_f64(seconds))
    }
}
