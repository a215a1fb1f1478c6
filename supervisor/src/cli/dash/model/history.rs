//! The last hour of one app: what was measured, in steps of ten seconds, and its reloads.

use std::collections::VecDeque;

use serde::Serialize;

/// Seconds of a step.
const STEP: u64 = 10;
/// Steps that are kept: an hour.
const STEPS: usize = 360;
/// Steps of the small graph in the list of apps: five minutes.
const SPARK_STEPS: usize = 30;
/// Reloads that are kept.
const MARKS: usize = 100;

/// What is measured at one time. `None`: it is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::cli::dash) struct Sample {
    /// 100 = one core.
    pub(in crate::cli::dash) cpu: Option<f64>,
    /// Bytes.
    pub(in crate::cli::dash) memory: Option<f64>,
    pub(in crate::cli::dash) connections: Option<f64>,
    /// Per second.
    pub(in crate::cli::dash) accepted: Option<f64>,
    /// Connections that wait.
    pub(in crate::cli::dash) backlog: Option<f64>,
    /// Since the app was started.
    pub(in crate::cli::dash) restarts: u64,
}

/// What a mark in the charts stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli::dash) enum MarkKind {
    Reload,
    RolledBack,
    PrimaryDeath,
}

/// A moment that the charts mark.
#[derive(Debug, Clone, Serialize)]
pub(in crate::cli::dash) struct Mark {
    /// Milliseconds since 1970.
    pub(in crate::cli::dash) at: u64,
    pub(in crate::cli::dash) kind: MarkKind,
    pub(in crate::cli::dash) text: String,
}

/// The mean of what is known.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.sum += value;
            self.count += 1;
        }
    }

    fn value(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / f64::from(self.count))
    }
}

#[derive(Debug, Clone, Default)]
struct Bucket {
    /// Steps since 1970.
    number: u64,
    cpu: Mean,
    memory: Mean,
    connections: Mean,
    accepted: Mean,
    /// The most of the step: a queue is short-lived.
    backlog: Option<f64>,
    /// In the step.
    restarts: u64,
    /// The worst of the step, in milliseconds.
    delay: Option<f64>,
}

/// The last hour.
#[derive(Debug, Clone, Default)]
pub(in crate::cli::dash) struct History {
    buckets: VecDeque<Bucket>,
    restarts: Option<u64>,
    marks: VecDeque<Mark>,
}

/// The hour as a page gets it. Each series has a value for each step, the oldest first.
#[derive(Debug, PartialEq, Serialize)]
pub(in crate::cli::dash) struct Hour {
    /// When the first step begins; seconds since 1970.
    from: u64,
    /// Seconds of a step.
    step: u64,
    cpu: Vec<Option<f64>>,
    memory: Vec<Option<f64>>,
    connections: Vec<Option<f64>>,
    accepted: Vec<Option<f64>>,
    backlog: Vec<Option<f64>>,
    restarts: Vec<Option<f64>>,
    delay: Vec<Option<f64>>,
}

impl History {
    /// Adds a sample that was taken at `unix_ms`.
    pub(in crate::cli::dash) fn add(&mut self, sample: Sample, unix_ms: u64) {
        // A total that shrinks is that of an app which was started anew.
        let new = self.restarts.map_or(0, |before| sample.restarts.saturating_sub(before));
        self.restarts = Some(sample.restarts);
        let Some(bucket) = self.bucket(unix_ms) else { return };
        bucket.cpu.add(sample.cpu);
        bucket.memory.add(sample.memory);
        bucket.connections.add(sample.connections);
        bucket.accepted.add(sample.accepted);
        bucket.backlog = larger(bucket.backlog, sample.backlog);
        bucket.restarts += new;
    }

    /// Adds a delay of an event loop, in milliseconds.
    pub(in crate::cli::dash) fn add_delay(&mut self, delay: f64, unix_ms: u64) {
        if let Some(bucket) = self.bucket(unix_ms) {
            bucket.delay = larger(bucket.delay, Some(delay));
        }
    }

    /// Adds a mark.
    pub(in crate::cli::dash) fn mark(&mut self, mark: Mark) {
        if self.marks.len() == MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back(mark);
    }

    /// The marks of the hour before `unix_ms`.
    pub(in crate::cli::dash) fn marks(&self, unix_ms: u64) -> impl Iterator<Item = &Mark> {
        let from = unix_ms.saturating_sub(STEPS as u64 * STEP * 1000);
        self.marks.iter().filter(move |mark| mark.at >= from)
    }

    /// The hour before `unix_ms`.
    pub(in crate::cli::dash) fn hour(&self, unix_ms: u64) -> Hour {
        let first = (unix_ms / 1000 / STEP + 1).saturating_sub(STEPS as u64);
        let series = |of: &dyn Fn(&Bucket) -> Option<f64>| {
            let mut values = vec![None; STEPS];
            for bucket in &self.buckets {
                let at = bucket.number.checked_sub(first).and_then(|at| usize::try_from(at).ok());
                if let Some(place) = at.and_then(|at| values.get_mut(at)) {
                    *place = of(bucket).map(rounded);
                }
            }
            values
        };
        Hour {
            from: first * STEP,
            step: STEP,
            cpu: series(&|bucket| bucket.cpu.value()),
            memory: series(&|bucket| bucket.memory.value().map(f64::round)),
            connections: series(&|bucket| bucket.connections.value()),
            accepted: series(&|bucket| bucket.accepted.value()),
            backlog: series(&|bucket| bucket.backlog),
            restarts: series(&|bucket| Some(bucket.restarts as f64)),
            delay: series(&|bucket| bucket.delay),
        }
    }

    /// The CPU of the last steps that are over, the oldest first.
    pub(in crate::cli::dash) fn spark(&self) -> Vec<Option<f64>> {
        let over = self.buckets.iter().rev().skip(1).take(SPARK_STEPS);
        let mut values: Vec<_> = over.map(|bucket| bucket.cpu.value().map(rounded)).collect();
        values.reverse();
        values
    }

    /// The step of this time. `None` if it is over: the clock was set back.
    fn bucket(&mut self, unix_ms: u64) -> Option<&mut Bucket> {
        let number = unix_ms / 1000 / STEP;
        let newest = self.buckets.back().map(|bucket| bucket.number);
        if newest.is_none_or(|newest| newest < number) {
            if self.buckets.len() == STEPS {
                self.buckets.pop_front();
            }
            self.buckets.push_back(Bucket { number, ..Bucket::default() });
        }
        self.buckets.back_mut().filter(|bucket| bucket.number == number)
    }
}

fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (one, other) => one.or(other),
    }
}

/// With two digits after the point, which is what a chart can show.
pub(in crate::cli::dash) fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(cpu: f64, restarts: u64) -> Sample {
        Sample { cpu: Some(cpu), backlog: Some(cpu), restarts, ..Sample::default() }
    }

    #[test]
    fn a_step_has_the_mean_and_the_most() {
        let mut history = History::default();
        let now = 10_000_000_000;
        history.add(sample(10.0, 5), now);
        history.add(sample(20.0, 7), now + 1000);
        history.add(sample(40.0, 8), now + 10_000);
        history.add(sample(40.0, 2), now + 11_000);
        history.add_delay(3.0, now + 11_000);
        history.add_delay(2.0, now + 12_000);
        let hour = history.hour(now + 12_000);
        assert_eq!((hour.from, hour.step), (now / 1000 + 20 - 3600, 10));
        let last = |series: &[Option<f64>]| series[STEPS - 2..].to_vec();
        assert_eq!(last(&hour.cpu), [Some(15.0), Some(40.0)]);
        assert_eq!(last(&hour.backlog), [Some(20.0), Some(40.0)]);
        assert_eq!(last(&hour.restarts), [Some(2.0), Some(1.0)], "the first total is no news");
        assert_eq!(last(&hour.delay), [None, Some(3.0)]);
        assert_eq!(last(&hour.memory), [None, None]);
        assert_eq!(hour.cpu[STEPS - 3], None);
        assert_eq!(history.spark(), [Some(15.0)]);
    }

    #[test]
    fn it_is_an_hour() {
        let mut history = History::default();
        for at in 0..5000 {
            history.add(sample(1.0, 0), at * 10_000);
        }
        assert_eq!(history.buckets.len(), STEPS);
        assert!(history.hour(4999 * 10_000).cpu.iter().all(Option::is_some));
        let half = history.hour((4999 + 180) * 10_000);
        assert_eq!(half.cpu.iter().flatten().count(), 180, "nothing came for half an hour");
        // A clock that is set back changes nothing.
        history.add(sample(99.0, 0), 0);
        assert_eq!(history.hour(4999 * 10_000).cpu[STEPS - 1], Some(1.0));
    }

    #[test]
    fn marks_are_of_the_hour() {
        let mut history = History::default();
        for at in 0..200 {
            let text = at.to_string();
            history.mark(Mark { at: at * 60_000, kind: MarkKind::Reload, text });
        }
        let marks: Vec<u64> = history.marks(199 * 60_000).map(|mark| mark.at / 60_000).collect();
        assert_eq!(marks, (139..200).collect::<Vec<_>>());
    }
}
