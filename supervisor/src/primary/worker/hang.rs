//! A ready worker counts as hung when connections wait for it, it takes none of them, and one of
//! them has been waiting since `hang_timeout` ago or longer.
//!
//! A slow worker that takes one connection after another is never hung, however long its queue is.
//! Nor is a worker for which no connection waits. What it does besides does not matter.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::time::Time;
use crate::primary::event::Gauge;

/// How many gauges fit into `hang_timeout`.
const GAUGES: u32 = 8;
/// The shortest time between two gauges.
const LEAST: Duration = Duration::from_millis(20);

/// The watch over a ready worker.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::primary) struct Watch {
    timeout: Duration,
    /// When the next gauge is due. `None`: a gauge is under way.
    next: Option<Time>,
    /// Since when every gauge has found it standing still.
    still_since: Option<Time>,
}

impl Watch {
    /// `None`: the configuration does not ask for hung workers to be killed.
    pub(in crate::primary) fn new(now: Time, timeout: Duration) -> Option<Self> {
        if timeout.is_zero() {
            return None;
        }
        let mut watch = Self { timeout, next: None, still_since: None };
        watch.gauge_after(now);
        Some(watch)
    }

    fn gauge_after(&mut self, now: Time) {
        self.next = Some(now + (self.timeout / GAUGES).max(LEAST));
    }

    /// Resumes after a restore: the gauge that was under way gets no answer any more.
    pub(in crate::primary) fn resume(&mut self, now: Time) {
        self.still_since = None;
        self.gauge_after(now);
    }

    pub(in crate::primary) fn deadline(&self) -> Option<Time> {
        self.next
    }

    /// Whether a gauge is due now.
    pub(in crate::primary) fn is_due(&mut self, now: Time) -> bool {
        self.next.take_if(|at| *at <= now).is_some()
    }

    /// Takes the result of a gauge. If the worker hangs: how long it has stood still.
    pub(in crate::primary) fn gauged(&mut self, gauge: Gauge, now: Time) -> Option<Duration> {
        self.gauge_after(now);
        if gauge.waiting == 0 || gauge.moved {
            self.still_since = None;
            return None;
        }
        let stood = now.since(*self.still_since.get_or_insert(now));
        (stood >= self.timeout && gauge.oldest >= self.timeout).then_some(stood)
    }
}
