//! What waits for the collector, and when it is sent: pure, without a clock.
//!
//! The oldest request is sent first, one at a time. If the collector cannot take it now, it waits
//! and is sent again. The queue is bounded: if it is full, the oldest request is dropped, so that
//! the collector gets the newest values when it is back. What is lost is counted.

use std::collections::VecDeque;
use std::time::Duration;

use hyper::body::Bytes;

use crate::base::time::Time;

/// Requests that may wait, with the one that is being sent.
const MOST: usize = 256;
/// Their bytes.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// The pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that we choose.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause that a collector may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(600);

/// A request, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) body: Bytes,
    pub(super) points: usize,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The collector took it, except for `rejected` of its data points. `message` is its own.
    Accepted { rejected: u64, message: String },
    /// It could not take it now. `after`: the pause that it asked for.
    Later { why: String, after: Option<Duration> },
    /// It will never take it.
    Refused { why: String },
}

/// Data points by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) accepted: u64,
    pub(super) refused: u64,
    pub(super) dropped: u64,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send this, and report the outcome.
    Send(Batch),
    /// Nothing before then.
    Wait(Time),
    /// Nothing until there is a batch or an outcome.
    Idle,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<Batch>,
    bytes: usize,
    /// The points of the one that is being sent, which comes back if it must be sent again.
    sending: Option<Batch>,
    /// Nothing is sent before.
    due: Time,
    /// Failures since the last answer that was not [`Outcome::Later`].
    failures: u32,
    /// What was reported since the last outage: it is not repeated.
    said: Vec<String>,
    /// A whole request was not taken, and none was taken wholly since.
    is_away: bool,
    pub(super) totals: Totals,
    random: fastrand::Rng,
}

impl Queue {
    /// An empty one. `random` spreads the pauses of many senders.
    pub(super) fn new(now: Time, random: fastrand::Rng) -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            sending: None,
            due: now,
            failures: 0,
            said: Vec::new(),
            is_away: false,
            totals: Totals::default(),
            random,
        }
    }

    /// How many requests were not answered yet.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.sending.is_some())
    }

    /// Puts a batch at the end. Returns what is to be said.
    pub(super) fn push(&mut self, batch: Batch) -> Option<String> {
        self.bytes += batch.body.len();
        self.waiting.push_back(batch);
        self.drop_oldest()
    }

    /// Ends the pause, if there is one.
    pub(super) fn hurry(&mut self, now: Time) {
        self.due = self.due.min(now);
    }

    /// What is to be done.
    pub(super) fn next(&mut self, now: Time) -> Next {
        if self.sending.is_some() || self.waiting.is_empty() {
            return Next::Idle;
        }
        if now < self.due {
            return Next::Wait(self.due);
        }
        let Some(batch) = self.waiting.pop_front() else { return Next::Idle };
        self.bytes -= batch.body.len();
        self.sending = Some(batch.clone());
        Next::Send(batch)
    }

    /// Takes the outcome of what was sent. Returns what is to be said.
    pub(super) fn answered(&mut self, outcome: Outcome, now: Time) -> Option<String> {
        let batch = self.sending.take()?;
        let points = u64::try_from(batch.points).unwrap_or(u64::MAX);
        match outcome {
            Outcome::Accepted { rejected, message } => {
                let rejected = rejected.min(points);
                self.totals.accepted += points - rejected;
                self.totals.refused += rejected;
                self.accepted(rejected, points, &message)
            }
            Outcome::Refused { why } => {
                self.failures = 0;
                self.is_away = true;
                self.totals.refused += points;
                let total = self.totals.refused;
                self.once(&why, || {
                    format!("{why}; such data is not sent again ({total} data points refused)")
                })
            }
            Outcome::Later { why, after } => {
                self.is_away = true;
                let pause = self.pause(after);
                self.due = now + pause;
                self.bytes += batch.body.len();
                self.waiting.push_front(batch);
                let said = self.once(&why, || format!("{why}; it is sent again"));
                // It may have become one too many meanwhile.
                self.drop_oldest().or(said)
            }
        }
    }

    fn accepted(&mut self, rejected: u64, points: u64, message: &str) -> Option<String> {
        self.failures = 0;
        if rejected > 0 {
            let why = format!("the collector rejected data points: {message}");
            let (why, total) = (why.trim_end_matches([':', ' ']), self.totals.refused);
            return self.once(why, || format!("{why} ({rejected} of {points}; {total} in all)"));
        }
        if !message.is_empty() {
            let why = format!("the collector warns: {message}");
            return self.once(&why, || why.clone());
        }
        // Where it rejects a part of each round, nothing begins anew.
        if !std::mem::take(&mut self.is_away) {
            return None;
        }
        self.said.clear();
        let dropped = self.totals.dropped;
        Some(format!(
            "the collector takes metrics again; {dropped} data points were dropped so far"
        ))
    }

    /// Drops what the bounds leave no room for.
    fn drop_oldest(&mut self) -> Option<String> {
        let mut dropped = false;
        while self.len() > MOST || self.bytes > MOST_BYTES {
            let Some(batch) = self.waiting.pop_front() else { break };
            self.bytes -= batch.body.len();
            self.totals.dropped += u64::try_from(batch.points).unwrap_or(u64::MAX);
            dropped = true;
        }
        let total = self.totals.dropped;
        dropped.then(|| {
            self.once("drop", || {
                format!(
                    "too much waits for the collector, so the oldest metrics are dropped \
                     ({total} data points so far)"
                )
            })
        })?
    }

    /// How long to wait after one more failure.
    fn pause(&mut self, after: Option<Duration>) -> Duration {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        let longest = doubled.min(LONGEST_PAUSE);
        let own = longest / 2 + (longest / 2).mul_f64(self.random.f64());
        after.map_or(own, |asked| asked.min(LONGEST_ASKED).max(own))
    }

    /// What is to be said, unless it was said since the collector last took all of a request.
    fn once(&mut self, what: &str, text: impl FnOnce() -> String) -> Option<String> {
        if self.said.iter().any(|said| said == what) {
            return None;
        }
        // An answer of the collector's may differ each time.
        if self.said.len() < 8 {
            self.said.push(what.to_owned());
            return Some(text());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        Queue::new(Time(0), fastrand::Rng::with_seed(7))
    }

    fn batch(text: &'static str) -> Batch {
        Batch { body: Bytes::from_static(text.as_bytes()), points: 10 }
    }

    fn at(seconds: u64) -> Time {
        Time(0) + Duration::from_secs(seconds)
    }

    fn later(after: Option<u64>) -> Outcome {
        Outcome::Later { why: "it answers 503".into(), after: after.map(Duration::from_secs) }
    }

    fn accepted() -> Outcome {
        Outcome::Accepted { rejected: 0, message: String::new() }
    }

    #[test]
    fn one_at_a_time_and_the_oldest_first() {
        let mut queue = queue();
        assert_eq!(queue.next(at(0)), Next::Idle);
        assert_eq!((queue.push(batch("a")), queue.push(batch("b"))), (None, None));
        assert_eq!(queue.next(at(0)), Next::Send(batch("a")));
        assert_eq!(queue.next(at(0)), Next::Idle);
        assert_eq!(queue.answered(accepted(), at(1)), None);
        assert_eq!(queue.next(at(1)), Next::Send(batch("b")));
        assert_eq!(queue.answered(accepted(), at(1)), None);
        assert_eq!((queue.len(), queue.bytes), (0, 0));
        assert_eq!(queue.totals, Totals { accepted: 20, refused: 0, dropped: 0 });
    }

    #[test]
    fn pauses_double_to_a_bound_and_obey_the_collector() {
        let mut queue = queue();
        queue.push(batch("a"));
        let mut now = at(0);
        let mut pauses = Vec::new();
        for after in [None, None, None, None, None, None, None, None, Some(90), Some(100_000)] {
            let sent = queue.next(now);
            assert_eq!(sent, Next::Send(batch("a")));
            let said = queue.answered(later(after), now);
            assert_eq!(said.is_some(), pauses.is_empty(), "once");
            let Next::Wait(due) = queue.next(now) else { panic!("it must wait") };
            pauses.push(due.since(now).as_secs_f64());
            now = due;
        }
        for (pause, longest) in pauses.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]) {
            assert!((longest / 2.0..=longest).contains(pause), "{pauses:?}");
        }
        assert_eq!(&pauses[8..], [90.0, 600.0]);
        queue.next(now);
        let said = queue.answered(accepted(), now).unwrap();
        assert!(said.contains("again") && said.contains("0 data points"), "{said}");
        // The next outage begins anew.
        queue.push(batch("b"));
        queue.next(now);
        assert!(queue.answered(later(None), now).is_some());
        let Next::Wait(due) = queue.next(now) else { panic!("it must wait") };
        assert!(due.since(now) <= FIRST_PAUSE);
    }

    #[test]
    fn the_end_of_an_outage_is_said_after_a_partial_success_too() {
        let mut queue = queue();
        queue.push(batch("a"));
        queue.push(batch("b"));
        queue.next(at(0));
        assert!(queue.answered(later(Some(500)), at(0)).is_some());
        assert!(matches!(queue.next(at(1)), Next::Wait(_)));
        queue.hurry(at(1));
        assert_eq!(queue.next(at(1)), Next::Send(batch("a")), "the pause has ended");
        let partly = Outcome::Accepted { rejected: 3, message: "old".into() };
        assert!(queue.answered(partly, at(1)).unwrap().contains("old"));
        queue.next(at(1));
        assert!(queue.answered(accepted(), at(1)).unwrap().contains("takes metrics again"));
    }

    #[test]
    fn what_is_refused_is_not_sent_again() {
        let mut queue = queue();
        queue.push(batch("a"));
        queue.push(batch("b"));
        queue.push(batch("c"));
        queue.next(at(0));
        let refused = || Outcome::Refused { why: "it answers 400".into() };
        let said = queue.answered(refused(), at(0)).unwrap();
        assert!(said.contains("it answers 400") && said.contains("10 data points"), "{said}");
        assert_eq!(queue.next(at(0)), Next::Send(batch("b")), "without a pause");
        assert_eq!(queue.answered(refused(), at(0)), None, "it was said");
        queue.next(at(0));
        let partly = Outcome::Accepted { rejected: 3, message: "no such unit".into() };
        let said = queue.answered(partly, at(0)).unwrap();
        assert!(said.contains("no such unit (3 of 10; 23 in all)"), "{said}");
        assert_eq!(queue.totals, Totals { accepted: 7, refused: 23, dropped: 0 });
    }

    #[test]
    fn the_oldest_is_dropped_and_counted() {
        let mut queue = queue();
        queue.push(batch("first"));
        queue.next(at(0));
        let said: Vec<String> = (0..MOST + 3).filter_map(|_| queue.push(batch("more"))).collect();
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!((queue.len(), queue.totals.dropped), (MOST, 40));
        // The one that was being sent is now the oldest of a full queue, and has its place.
        queue.answered(later(None), at(0));
        assert_eq!((queue.len(), queue.totals.dropped), (MOST, 40));
        assert_eq!(queue.next(at(60)), Next::Send(batch("first")));
        let said = queue.answered(accepted(), at(60)).unwrap();
        assert!(said.contains("40 data points were dropped"), "{said}");
        assert!(queue.push(batch("more")).is_none());
        assert!(queue.push(batch("more")).is_some_and(|said| said.contains("(50 data points")));
    }

    #[test]
    fn bytes_are_bounded() {
        let mut queue = queue();
        let large = Batch { body: vec![0; MOST_BYTES / 2 + 1].into(), points: 1 };
        assert_eq!(queue.push(large.clone()), None);
        assert!(queue.push(large).is_some());
        assert_eq!((queue.len(), queue.bytes), (1, MOST_BYTES / 2 + 1));
    }
}
