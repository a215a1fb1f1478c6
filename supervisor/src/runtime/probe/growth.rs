//! What Node workers tell of themselves (`preload`), and whether a worker's memory only grows
//! (`leak`).
//!
//! The heap of Node workers comes by itself. Resident memory is read only while somebody looks at
//! the metrics: every half minute, for an hour after each look. With a short `leak_window` both
//! come more often.

use std::collections::BTreeMap;
use std::time::Duration;

use ipc::control::{AppStatus, Notice, NoticeKind};
use ipc::node::Measured;
use ipc::talk::Metric;

use super::leak::{Growth, Track};
use crate::base::ids::{Slot, WorkerId};
use crate::base::time::Time;
use crate::runtime::Runtime;
use crate::runtime::control::metrics::metric;
use crate::sys::{clock, target};

/// How often resident memory is read; more often, if that is too seldom for the window.
const EVERY: Duration = Duration::from_secs(30);
/// In each window it is read so often at least.
const IN_A_WINDOW: u32 = 20;
/// For how long after somebody looked.
const LOOKED_AT: Duration = Duration::from_secs(3600);
const MIB: f64 = 1024.0 * 1024.0;

/// All that is watched.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Growing {
    workers: BTreeMap<WorkerId, Watched>,
    /// When somebody last looked at the metrics.
    looked: Option<Time>,
    /// When resident memory is read again.
    pub(in crate::runtime) due: Option<Time>,
}

/// One worker.
#[derive(Debug)]
struct Watched {
    measured: Option<Measured>,
    heap: Track,
    resident: Track,
    /// It was said that it leaks.
    said: bool,
}

impl Watched {
    fn new(window: Duration) -> Self {
        let track = || Track::new(window);
        Self { measured: None, heap: track(), resident: track(), said: false }
    }

    /// What grows, and how. A heap that grows takes resident memory with it.
    fn suspected(&self) -> Option<(&'static str, Growth)> {
        let heap = self.heap.growth().map(|growth| ("heap", growth));
        heap.or_else(|| self.resident.growth().map(|growth| ("resident memory", growth)))
    }
}

/// `leak suspected: the heap of slot 1 (worker 3) grows by 12 MiB/h, seen over 30 min`
fn sentence(slot: Slot, worker: WorkerId, what: &str, growth: Growth) -> String {
    let (rate, seconds) = (growth.per_hour / MIB, growth.over.as_secs());
    let over = match seconds {
        0..120 => format!("{seconds} s"),
        _ => format!("{} min", seconds / 60),
    };
    format!(
        "leak suspected: the {what} of slot {slot} (worker {worker}) grows by {rate:.0} MiB/h, seen over {over}"
    )
}

impl Runtime {
    /// What a Node worker's preload told.
    pub(in crate::runtime) fn take_measured(&mut self, worker: WorkerId, measured: Measured) {
        let Some(watched) = self.watched(worker) else { return };
        watched.heap.push(clock::now(), measured.heap);
        watched.measured = Some(measured);
        self.suspect(worker);
    }

    fn watched(&mut self, worker: WorkerId) -> Option<&mut Watched> {
        let window = self.children.get(&worker)?.spec.times.leak_window;
        Some(self.bus.growing.workers.entry(worker).or_insert_with(|| Watched::new(window)))
    }

    /// How long until resident memory is read again.
    fn rest_of_growth(&self) -> Duration {
        match self.core.spec().times.leak_window {
            Duration::ZERO => EVERY,
            window => EVERY.min(window / IN_A_WINDOW),
        }
    }

    /// Somebody looks at the metrics, for which this was read.
    pub(in crate::runtime) fn looked_at(&mut self, status: &AppStatus) {
        let now = clock::now();
        self.bus.growing.looked = Some(now);
        let due = now + self.rest_of_growth();
        self.bus.growing.due.get_or_insert(due);
        let roster: Vec<Option<WorkerId>> = self.core.roster().collect();
        for (entry, worker) in status.workers.iter().zip(roster) {
            if let (Some(worker), Some(bytes)) = (worker, entry.rss_bytes) {
                self.take_resident(worker, now, bytes);
            }
        }
    }

    /// Reads resident memory if it is time to.
    pub(in crate::runtime) fn watch_growth(&mut self) {
        let now = clock::now();
        if self.bus.growing.due.is_none_or(|due| now < due) {
            return;
        }
        let wanted = self.bus.growing.looked.is_some_and(|at| now.since(at) < LOOKED_AT);
        self.bus.growing.due = wanted.then(|| now + self.rest_of_growth());
        let live = self.children.values().filter(|child| child.ended.is_none());
        let families: Vec<(WorkerId, Vec<u32>)> =
            live.map(|child| (child.id, target::descendants(child.pid.0))).collect();
        let pids: Vec<u32> = families.iter().flat_map(|(_, pids)| pids).copied().collect();
        let usage = self.sampler.usage(&pids);
        for (worker, pids) in families {
            let bytes = pids.iter().filter_map(|pid| usage.get(pid)).map(|u| u.rss_bytes).sum();
            self.take_resident(worker, now, bytes);
        }
    }

    fn take_resident(&mut self, worker: WorkerId, now: Time, bytes: u64) {
        if let Some(watched) = self.watched(worker) {
            watched.resident.push(now, bytes);
            self.suspect(worker);
        }
    }

    /// Says once of a worker that it may leak.
    fn suspect(&mut self, worker: WorkerId) {
        let Some(child) = self.children.get(&worker) else { return };
        let Some(watched) = self.bus.growing.workers.get_mut(&worker) else { return };
        let Some((what, growth)) = watched.suspected().filter(|_| !watched.said) else { return };
        watched.said = true;
        let (slot, generation) = (child.slot, child.generation);
        self.publish(Notice {
            slot: Some(slot.0),
            worker: Some(worker.0),
            generation: Some(generation.0),
            ..Notice::of_app(NoticeKind::Warning, sentence(slot, worker, what, growth))
        });
    }

    /// Who may leak now, for people.
    pub(in crate::runtime) fn growth_notes(&self) -> Vec<String> {
        let notes = self.bus.growing.workers.iter().filter_map(|(worker, watched)| {
            let (what, growth) = watched.suspected()?;
            Some(sentence(self.children.get(worker)?.slot, *worker, what, growth))
        });
        notes.collect()
    }

    /// A worker is gone.
    pub(in crate::runtime) fn forget_growth(&mut self, worker: WorkerId) {
        self.bus.growing.workers.remove(&worker);
    }

    /// What Node workers told last, by slot; while one is replaced, of its newest worker.
    pub(in crate::runtime) fn node_metrics(&self) -> Vec<Metric> {
        let told = self.bus.growing.workers.iter();
        let by_slot: BTreeMap<u16, Measured> = told
            .filter_map(|(worker, watched)| {
                Some((self.children.get(worker)?.slot.0, watched.measured?))
            })
            .collect();
        let mut all = Vec::new();
        for (slot, measured) in by_slot {
            let slot = slot.to_string();
            let mut add = |name, unit: &str, labels: &[(&str, &str)], value| {
                let unit = unit.to_owned();
                all.push(Metric { unit, ..metric("gauge", name, labels, value) });
            };
            let delay = "supervisor_node_event_loop_delay_seconds";
            for (quantile, value) in [("0.5", measured.p50), ("0.99", measured.p99)] {
                add(delay, "seconds", &[("quantile", quantile), ("slot", &slot)], value);
            }
            #[expect(clippy::cast_precision_loss, reason = "a heap is far below 2^53")]
            let heap = measured.heap as f64;
            add("supervisor_node_heap_used_bytes", "bytes", &[("slot", &slot)], heap);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence() {
        for (over, expected) in [(1800, "30 min"), (119, "119 s")] {
            let growth = Growth { per_hour: 12.2 * MIB, over: Duration::from_secs(over) };
            let expected = format!(
                "leak suspected: the heap of slot 1 (worker 3) grows by 12 MiB/h, seen over {expected}"
            );
            assert_eq!(sentence(Slot(1), WorkerId(3), "heap", growth), expected);
        }
    }
}
