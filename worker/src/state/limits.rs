//! The limits that the app's configuration sets (`[shared.limits]`): how many connections are open
//! at a time, and how many requests come in a second.
//!
//! Values that are no limits are refused, and the limits stay as they are.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use ipc::bus::Json;
use ipc::token_bucket::TokenBucket;
use serde_json::Value;

use crate::sync::locked;

/// The least time between two reports of refused requests, so that a flood of requests is not also
/// a flood of messages.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The limits of this worker, and what counts towards them.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    state: Mutex<State>,
    /// Signalled when there may be room for a connection.
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// `None`: any number.
    connections: Option<u64>,
    open: u64,
    /// The tasks that wait for room.
    waiting: Vec<Waker>,
    /// `None`: any rate.
    bucket: Option<TokenBucket<Instant>>,
    /// The refused requests since the last report.
    refused: u64,
    reported: Option<Instant>,
}

/// One of the open connections. It counts until this is dropped.
#[derive(Debug)]
pub struct Open(Arc<Limits>);

/// A request is beyond the rate. It was not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// The time until the next request is within the rate.
    pub wait: Duration,
}

impl Limited {
    /// The time to wait in whole seconds, at least 1, for the header `Retry-After`.
    pub fn retry_after(&self) -> u64 {
        self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0 || self.wait.is_zero())
    }
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "too many requests: try again in {} s", self.retry_after())
    }
}

impl std::error::Error for Limited {}

/// The limits among the shared values.
struct Wanted {
    connections: f64,
    rate: f64,
    burst: f64,
}

/// Reads the limits. An error says what is wrong, in the same words in all languages.
fn read(data: &Json) -> Result<Wanted, String> {
    // Values of another shape have no limits.
    let mut values = data.read::<Value>().unwrap_or_default();
    let table = match values.get_mut("limits").map(Value::take).unwrap_or_default() {
        Value::Null => serde_json::Map::new(),
        Value::Object(table) => table,
        _ => return Err("invalid limits: not a table".to_owned()),
    };
    let number = |key: &str, default: f64| match table.get(key).map(Value::as_f64) {
        None => Ok(default),
        Some(Some(number)) if number.is_finite() && number >= 0.0 => Ok(number),
        Some(_) => Err(format!("invalid limits: {key} is not a number of 0 or more")),
    };
    let (connections, rate) = (number("connections", 0.0)?, number("rate", 0.0)?);
    Ok(Wanted { connections, rate, burst: number("burst", rate)?.max(1.0) })
}

impl Limits {
    /// Takes over the limits among the shared values. An error says why they stay as they are.
    pub(crate) fn configure(&self, data: &Json) -> Result<(), String> {
        let Wanted { connections, rate, burst } = read(data)?;
        let now = Instant::now();
        let mut state = locked(&self.state);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
        let most = connections.ceil() as u64;
        state.connections = (connections > 0.0).then_some(most);
        state.bucket = match state.bucket.take() {
            _ if rate == 0.0 => None,
            Some(mut bucket) => {
                bucket.resize(rate, burst, now);
                Some(bucket)
            }
            None => Some(TokenBucket::new(rate, burst, now)),
        };
        drop(state);
        self.wake_all();
        Ok(())
    }

    /// Wakes all threads and tasks that wait for room.
    fn wake_all(&self) {
        let waiting = std::mem::take(&mut locked(&self.state).waiting);
        self.room.notify_all();
        for task in waiting {
            task.wake();
        }
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> u64 {
        locked(&self.state).open
    }

    /// Waits for room, and counts one more connection.
    pub(crate) fn enter(self: &Arc<Self>) -> Open {
        let mut state = self
            .room
            .wait_while(locked(&self.state), |state| !state.has_room())
            .unwrap_or_else(PoisonError::into_inner);
        state.open += 1;
        Open(Arc::clone(self))
    }

    /// Counts one more connection, if there is room for it.
    pub(crate) fn try_enter(self: &Arc<Self>) -> Option<Open> {
        self.enter_or_else(|_| {})
    }

    /// Counts one more connection, or wakes the task when there may be room for it.
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

    /// Whether a request is within the rate, and how many refused requests to report now.
    pub(crate) fn admit(&self, now: Instant) -> (Result<(), Limited>, u64) {
        let mut state = locked(&self.state);
        let admitted = state.bucket.as_mut().map_or(Ok(()), |bucket| bucket.take(now));
        let answer = admitted.map_err(|wait| Limited { wait });
        state.refused += u64::from(answer.is_err());
        let since = state.reported.map(|reported| now.duration_since(reported));
        if state.refused == 0 || since.is_some_and(|since| since < REPORT_INTERVAL) {
            return (answer, 0);
        }
        state.reported = Some(now);
        (answer, std::mem::take(&mut state.refused))
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.connections.is_none_or(|most| self.open < most)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = locked(&self.0.state);
        state.open -= 1;
        let limited = state.connections.is_some();
        drop(state);
        if limited {
            self.0.wake_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(text: &str) -> Arc<Limits> {
        let limits = Arc::<Limits>::default();
        assert_eq!(limits.configure(&Json::parse(text).unwrap()), Ok(()), "{text}");
        limits
    }

    fn set(limits: &Limits, text: &str) -> Result<(), String> {
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
        // They are reported at most once in a second.
        assert_eq!(limits.admit(begin + Duration::from_millis(60_500)).1, 0);
        assert_eq!(limits.admit(begin + Duration::from_secs(61)).1, 1);
    }

    #[test]
    fn values_take_effect_at_once() {
        let limits = limits(r#"{"limits":{"rate":1}}"#);
        let now = Instant::now();
        assert!(limits.admit(now).0.is_ok() && limits.admit(now).0.is_err());
        assert_eq!(set(&limits, r#"{"limits":{"rate":1000,"burst":1}}"#), Ok(()));
        assert!(limits.admit(now + Duration::from_secs(1)).0.is_ok());
        let why = "invalid limits: rate is not a number of 0 or more".to_owned();
        for wrong in [r#"{"limits":{"rate":"fast"}}"#, r#"{"limits":{"rate":-1}}"#] {
            assert_eq!(set(&limits, wrong), Err(why.clone()));
        }
        for wrong in [r#"{"limits":7}"#, r#"{"limits":{"connections":true}}"#] {
            assert!(set(&limits, wrong).is_err(), "{wrong}");
        }
        let now = now + Duration::from_secs(2);
        assert!(limits.admit(now).0.is_ok() && limits.admit(now).0.is_err(), "they stay");
        for none in ["null", "7", "{}", r#"{"limits":null}"#, r#"{"limits":{"rate":0}}"#] {
            assert_eq!(set(&limits, none), Ok(()), "{none}");
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
            assert_eq!(set(&limits, r#"{"limits":{"connections":3}}"#), Ok(()));
            let fourth = fourth.join().unwrap();
            assert_eq!(set(&limits, r#"{"limits":{"connections":1}}"#), Ok(()));
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
