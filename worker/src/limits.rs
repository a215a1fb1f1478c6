//! Limits that the app's configuration sets (`[shared.limits]`) and that hold from one moment to
//! the next: how many connections are open at a time, and how many requests come in a second.
//!
//! Refuses values that are no limits, and keeps those that it has.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use ipc::bus::Json;
use serde::Deserialize;
use serde_json::Value;

use crate::Worker;
use crate::bus::locked;

/// How often it is told at most how many requests were refused.
const TELL: Duration = Duration::from_secs(1);
/// The longest that a request is told to wait.
const LONGEST: f64 = 3600.0;

/// What this worker may do, and what it does.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    state: Mutex<State>,
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// `None`: any number.
    connections: Option<u64>,
    open: u64,
    /// Tasks that wait for room.
    waiting: Vec<Waker>,
    bucket: Option<Bucket>,
    /// Requests that were refused and not told of yet, and when the last were.
    limited: u64,
    told: Option<Instant>,
}

/// Each request takes one of its tokens; so many come back in a second.
#[derive(Debug)]
struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

/// One connection of those that may be open. It is so until this is dropped.
#[derive(Debug)]
pub struct Open(Arc<Limits>);

/// One request too many. Nothing of it was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// How long it takes until the next request is within the rate.
    pub wait: Duration,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wanted {
    connections: u64,
    rate: f64,
    burst: Option<f64>,
}

impl Worker {
    /// Whether one more request is within the rate that `[shared.limits]` sets; always without
    /// one. Whoever asks has then made it, or answers that it is too much, with HTTP by 429 and
    /// `Retry-After`:
    ///
    /// ```
    /// # let worker = worker::Worker::join().unwrap();
    /// let answer = match worker.admit() {
    ///     Ok(()) => "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
    ///     Err(limited) => format!(
    ///         "HTTP/1.1 429 Too Many Requests\r\nRetry-After: {}\r\n\r\n",
    ///         limited.retry_after()
    ///     ),
    /// };
    /// # assert!(answer.contains("200"));
    /// ```
    pub fn admit(&self) -> Result<(), Limited> {
        let now = Instant::now();
        let (answer, limited) = self.inner.limits.admit(now);
        if limited > 0 {
            #[expect(clippy::cast_precision_loss, reason = "a count above 2^53 may be off by one")]
            let more = limited as f64;
            // The channel's end is noticed elsewhere.
            let _ = self.counter("requests_limited", more, &[]);
        }
        answer
    }

    /// How many connections are open, of those that listeners of this worker accepted.
    pub fn connections(&self) -> u64 {
        locked(&self.inner.limits.state).open
    }
}

impl Limited {
    /// Whole seconds, at least 1, as the header `Retry-After` wants them.
    pub fn retry_after(&self) -> u64 {
        self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0 || self.wait.is_zero())
    }
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "too many requests: the next one is possible in {} s", self.retry_after())
    }
}

impl std::error::Error for Limited {}

impl Limits {
    /// The shared values have changed; an error is why the limits stay as they are.
    pub(crate) fn configure(&self, data: &Json) -> Option<String> {
        // Values of another shape have no limits.
        let limits =
            data.read::<Value>().ok().and_then(|mut all| Some(all.get_mut("limits")?.take()));
        let wanted = match Option::<Wanted>::deserialize(limits.unwrap_or_default()) {
            Ok(wanted) => wanted.unwrap_or_default(),
            Err(error) => return Some(format!("these are no limits: {error}")),
        };
        let burst = wanted.burst.unwrap_or(wanted.rate).max(1.0);
        if !(wanted.rate.is_finite() && wanted.rate >= 0.0 && burst.is_finite()) {
            return Some("these are no limits: a rate or a burst is no number".to_owned());
        }
        let now = Instant::now();
        let mut state = locked(&self.state);
        state.connections = (wanted.connections > 0).then_some(wanted.connections);
        state.bucket = match state.bucket.take() {
            _ if wanted.rate == 0.0 => None,
            Some(mut bucket) => {
                bucket.fill(now);
                let tokens = bucket.tokens.min(burst);
                Some(Bucket { rate: wanted.rate, burst, tokens, filled: now })
            }
            None => Some(Bucket { rate: wanted.rate, burst, tokens: burst, filled: now }),
        };
        drop(state);
        self.look_again();
        None
    }

    /// Those who wait look whether there is room.
    fn look_again(&self) {
        let waiting = std::mem::take(&mut locked(&self.state).waiting);
        self.room.notify_all();
        for task in waiting {
            task.wake();
        }
    }

    /// One more connection, once there is room for it.
    pub(crate) fn enter(self: &Arc<Self>) -> Open {
        let mut state = self
            .room
            .wait_while(locked(&self.state), |state| !state.has_room())
            .unwrap_or_else(PoisonError::into_inner);
        state.open += 1;
        Open(Arc::clone(self))
    }

    /// One more connection, if there is room for it.
    pub(crate) fn try_enter(self: &Arc<Self>) -> Option<Open> {
        self.enter_or_else(|_| {})
    }

    /// The same; without room the task is woken when there is.
    #[cfg(feature = "tokio")]
    pub(crate) fn enter_or_wake(self: &Arc<Self>, task: &Waker) -> Option<Open> {
        self.enter_or_else(|state| {
            if !state.waiting.iter().any(|other| other.will_wake(task)) {
                state.waiting.push(task.clone());
            }
        })
    }

    fn enter_or_else(self: &Arc<Self>, full: impl FnOnce(&mut State)) -> Option<Open> {
        let mut state = locked(&self.state);
        if !state.has_room() {
            full(&mut state);
            return None;
        }
        state.open += 1;
        Some(Open(Arc::clone(self)))
    }

    /// The answer, and how many refused requests are to be told of.
    fn admit(&self, now: Instant) -> (Result<(), Limited>, u64) {
        let mut state = locked(&self.state);
        let answer = state.bucket.as_mut().map_or(Ok(()), |bucket| bucket.take(now));
        state.limited += u64::from(answer.is_err());
        let due = state.told.is_none_or(|told| now.duration_since(told) >= TELL);
        if state.limited == 0 || !due {
            return (answer, 0);
        }
        state.told = Some(now);
        (answer, std::mem::take(&mut state.limited))
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.connections.is_none_or(|most| self.open < most)
    }
}

impl Bucket {
    fn fill(&mut self, now: Instant) {
        let came = now.saturating_duration_since(self.filled).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + came).min(self.burst);
        self.filled = now;
    }

    fn take(&mut self, now: Instant) -> Result<(), Limited> {
        self.fill(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let seconds = ((1.0 - self.tokens) / self.rate).min(LONGEST);
        Err(Limited { wait: Duration::from_secs_f64(seconds) })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = locked(&self.0.state);
        state.open -= 1;
        let matters = state.connections.is_some();
        drop(state);
        if matters {
            self.0.look_again();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(text: &str) -> Arc<Limits> {
        let limits = Arc::<Limits>::default();
        assert_eq!(limits.configure(&Json::parse(text).unwrap()), None, "{text}");
        limits
    }

    fn set(limits: &Limits, text: &str) -> Option<String> {
        limits.configure(&Json::parse(text).unwrap())
    }

    #[test]
    fn a_bucket_fills_again() {
        let limits = limits(r#"{"limits":{"rate":10,"burst":3}}"#);
        let begin = Instant::now() + Duration::from_secs(60);
        let at = |ms: u64| limits.admit(begin + Duration::from_millis(ms)).0;
        assert_eq!([at(0), at(0), at(0)], [Ok(()); 3]);
        let limited = at(0).unwrap_err();
        assert!((90..=100).contains(&limited.wait.as_millis()), "{limited:?}");
        assert_eq!(limited.retry_after(), 1);
        assert_eq!(at(110), Ok(()));
        assert!(at(120).is_err());
        assert_eq!([at(60_000), at(60_000), at(60_000)], [Ok(()); 3]);
        assert!(at(60_000).is_err());
        // They are told of at most once in a second.
        assert_eq!(limits.admit(begin + Duration::from_millis(60_500)).1, 0);
        assert_eq!(limits.admit(begin + Duration::from_secs(61)).1, 1);
    }

    #[test]
    fn values_take_effect_at_once() {
        let limits = limits(r#"{"limits":{"rate":1}}"#);
        let now = Instant::now();
        assert!(limits.admit(now).0.is_ok() && limits.admit(now).0.is_err());
        assert_eq!(set(&limits, r#"{"limits":{"rate":1000,"burst":1}}"#), None);
        assert!(limits.admit(now + Duration::from_secs(1)).0.is_ok());
        assert!(set(&limits, r#"{"limits":{"rate":"fast"}}"#).unwrap().contains("no limits"));
        assert!(set(&limits, r#"{"limits":{"rate":-1}}"#).is_some());
        let now = now + Duration::from_secs(2);
        assert!(limits.admit(now).0.is_ok() && limits.admit(now).0.is_err(), "they stay");
        for none in ["null", "7", "{}", r#"{"limits":null}"#, r#"{"limits":{"rate":0}}"#] {
            assert_eq!(set(&limits, none), None, "{none}");
            assert!((0..1000).all(|_| limits.admit(now).0.is_ok()));
        }
    }

    #[test]
    fn there_is_room_again_when_one_goes_or_more_are_allowed() {
        let limits = limits(r#"{"limits":{"connections":2}}"#);
        let first = limits.enter();
        let second = limits.enter();
        assert!(limits.try_enter().is_none());
        std::thread::scope(|scope| {
            let third = scope.spawn(|| limits.enter());
            drop(first);
            let third = third.join().unwrap();
            let fourth = scope.spawn(|| limits.enter());
            assert_eq!(set(&limits, r#"{"limits":{"connections":3}}"#), None);
            let fourth = fourth.join().unwrap();
            assert_eq!(set(&limits, r#"{"limits":{"connections":1}}"#), None);
            drop((second, third));
            assert!(limits.try_enter().is_none(), "one is open, and no more may be");
            drop(fourth);
            assert!(limits.try_enter().is_some());
        });
    }

    #[test]
    fn retry_after_is_in_whole_seconds() {
        for (ms, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2)] {
            assert_eq!(Limited { wait: Duration::from_millis(ms) }.retry_after(), seconds);
        }
    }
}
