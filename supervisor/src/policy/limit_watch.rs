//! When the workers that have limits are measured: the nearer a limit, and the faster a worker
//! approaches it, the more often.
//!
//! A worker is measured again in half of the time in which it would reach its limit. It may begin
//! to grow at any time, so the watch assumes that it can go from zero to its limit within
//! [`FASTEST`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::base::ids::WorkerId;
use crate::base::time::{Time, millis};

/// The shortest time between two measurements of a worker.
const LEAST: Duration = Duration::from_millis(50);
/// The longest one.
const MOST: Duration = Duration::from_secs(2);
/// The time between two measurements of a worker that has reached a limit.
const ABOVE: Duration = Duration::from_secs(1);
/// How fast a worker may grow from nothing to its limit unseen.
const FASTEST: Duration = Duration::from_secs(30);
/// Over which time growth is computed.
const WINDOW: Duration = Duration::from_secs(2);
/// The most measurements that are kept of a worker.
const KEPT: usize = 48;

/// What was measured of a worker, and its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measurement {
    /// Bytes of resident memory.
    pub(crate) memory: u64,
    pub(crate) memory_limit: Option<u64>,
    /// Connections that it was given. `None`: unknown.
    pub(crate) connections: Option<u64>,
    pub(crate) connections_limit: Option<u64>,
}

/// The workers that are measured.
#[derive(Debug, Default)]
pub(crate) struct LimitWatch {
    workers: BTreeMap<WorkerId, Watched>,
}

#[derive(Debug)]
struct Watched {
    due: Time,
    /// The last measurements: the time, the memory, the connections.
    past: VecDeque<(Time, u64, u64)>,
}

impl LimitWatch {
    /// When the next worker is to be measured.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.workers.values().map(|watched| watched.due).min()
    }

    /// The workers that are to be measured now.
    pub(crate) fn due(&self, now: Time) -> Vec<WorkerId> {
        let due = self.workers.iter().filter(|(_, watched)| watched.due <= now);
        due.map(|(worker, _)| *worker).collect()
    }

    /// Watches a worker from now on, if it does not yet.
    pub(crate) fn watch(&mut self, now: Time, worker: WorkerId) {
        let new = || Watched { due: now + LEAST, past: VecDeque::new() };
        self.workers.entry(worker).or_insert_with(new);
    }

    /// Takes a measurement in. Returns by how many bytes a second the worker's memory grows.
    pub(crate) fn measured(&mut self, now: Time, worker: WorkerId, found: Measurement) -> u64 {
        let Some(watched) = self.workers.get_mut(&worker) else { return 0 };
        let Measurement { memory, memory_limit, connections, connections_limit } = found;
        let connections = connections.unwrap_or(0);
        watched.past.push_back((now, memory, connections));
        while watched.past.len() > KEPT
            || watched.past.get(1).is_some_and(|(at, ..)| now.since(*at) >= WINDOW)
        {
            watched.past.pop_front();
        }
        let (growth, arrivals) = watched.growth();
        let next = [(memory_limit, memory, growth), (connections_limit, connections, arrivals)];
        let next = next.into_iter().filter_map(|(limit, value, growth)| {
            let limit = limit?;
            Some(match limit.checked_sub(value) {
                None | Some(0) => ABOVE,
                Some(left) => until(left, growth.max(limit / FASTEST.as_secs())),
            })
        });
        // One measurement says nothing of growth.
        let most = if watched.past.len() < 2 { LEAST } else { MOST };
        watched.due = now + next.min().unwrap_or(MOST).min(most);
        growth
    }

    /// Forgets the workers that are not among these.
    pub(crate) fn retain(&mut self, lives: impl Fn(WorkerId) -> bool) {
        self.workers.retain(|worker, _| lives(*worker));
    }
}

/// Half of the time until `left` is used up, at `growth` a second.
fn until(left: u64, growth: u64) -> Duration {
    let millis = left.saturating_mul(500) / growth.max(1);
    Duration::from_millis(millis).clamp(LEAST, MOST)
}

impl Watched {
    /// By how much memory and connections grow in a second.
    fn growth(&self) -> (u64, u64) {
        let (Some(first), Some(last)) = (self.past.front(), self.past.back()) else {
            return (0, 0);
        };
        let millis = millis(last.0.since(first.0));
        let each = |first: u64, last: u64| match millis {
            0 => 0,
            _ => last.saturating_sub(first).saturating_mul(1000) / millis,
        };
        (each(first.1, last.1), each(first.2, last.2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const WORKER: WorkerId = WorkerId(1);

    fn memory(bytes: u64, limit: u64) -> Measurement {
        Measurement {
            memory: bytes,
            memory_limit: Some(limit),
            connections: None,
            connections_limit: None,
        }
    }

    /// Measures a leak until it is seen above the limit. Returns how far above, in percent, and how
    /// often it was measured.
    fn leak(each_second: u64, limit: u64, from: u64) -> (u64, u32) {
        let (mut watch, born) = (LimitWatch::default(), Time(1));
        watch.watch(born, WORKER);
        for count in 1.. {
            let now = watch.deadline().unwrap();
            assert_eq!(watch.due(now), [WORKER]);
            let millis = u64::try_from(now.since(born).as_millis()).unwrap();
            let bytes = from + each_second * millis / 1000;
            watch.measured(now, WORKER, memory(bytes, limit));
            if bytes >= limit {
                return ((bytes - limit) * 100 / limit, count);
            }
        }
        unreachable!("a leak ends")
    }

    #[test]
    fn a_leak_is_seen_soon_after_it_reaches_the_limit() {
        for (each_second, limit, from) in
            [(20, 200, 40), (1, 100, 50), (100, 300, 0), (5, 2000, 1900), (400, 1000, 900)]
        {
            let (above, count) = leak(each_second * MIB, limit * MIB, from * MIB);
            assert!(above <= 4, "{each_second} MiB/s: seen {above} % above {limit} MiB");
            assert!(count < 120, "{each_second} MiB/s: measured {count} times");
        }
    }

    #[test]
    fn a_worker_that_does_not_grow_is_hardly_measured() {
        let (mut watch, mut now) = (LimitWatch::default(), Time(1));
        watch.watch(now, WORKER);
        watch.measured(now, WORKER, memory(50 * MIB, 100 * MIB));
        for _ in 0..10 {
            now = watch.deadline().unwrap();
            assert_eq!(watch.measured(now, WORKER, memory(50 * MIB, 100 * MIB)), 0);
            assert_eq!(watch.deadline(), Some(now + MOST));
        }
        watch.retain(|_| false);
        assert_eq!(watch.deadline(), None);
    }

    #[test]
    fn connections_are_watched_like_memory() {
        let mut watch = LimitWatch::default();
        watch.watch(Time(1), WORKER);
        let found = |connections| Measurement {
            memory: 0,
            memory_limit: None,
            connections: Some(connections),
            connections_limit: Some(1000),
        };
        let second = Time(1) + Duration::from_secs(1);
        watch.measured(Time(1), WORKER, found(0));
        watch.measured(second, WORKER, found(800));
        assert_eq!(watch.deadline(), Some(second + Duration::from_millis(125)));
        watch.measured(second, WORKER, found(1000));
        assert_eq!(watch.deadline(), Some(second + ABOVE));
    }
}
