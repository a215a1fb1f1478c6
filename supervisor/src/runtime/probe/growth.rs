//! Whether a worker's memory only grows. `policy::memory_watch` says when memory is read and which
//! worker is suspected; here it is read, and people are told. What Node workers measured of
//! themselves (`preload`) is kept here for the metrics.

use std::collections::BTreeMap;

use ipc::bus::MetricKind;
use ipc::control::{AppStatus, Notice, NoticeKind};
use ipc::node::Measured;
use ipc::talk::Metric;

use crate::base::ids::{Slot, WorkerId};
use crate::policy::memory_watch::{Action, Event, Memory, MemoryWatch, Suspicion};
use crate::runtime::Runtime;
use crate::runtime::control::metrics::metric;
use crate::sys::{clock, target};

const MIB: f64 = 1024.0 * 1024.0;

/// The workers' memory.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Growing {
    pub(in crate::runtime) policy: MemoryWatch,
    /// What each Node worker told last.
    measured: BTreeMap<WorkerId, Measured>,
}

/// `leak suspected: the heap of slot 1 (worker 3) grows by 12 MiB/h, seen over 30 min`
fn sentence(slot: Slot, suspicion: &Suspicion) -> String {
    let Suspicion { worker, memory, growth } = suspicion;
    let (rate, seconds) = (growth.per_hour / MIB, growth.over.as_secs());
    let over = match seconds {
        0..120 => format!("{seconds} s"),
        _ => format!("{} min", seconds / 60),
    };
    format!(
        "leak suspected: the {memory} of slot {slot} (worker {worker}) grows by {rate:.0} MiB/h, \
         seen over {over}"
    )
}

impl Runtime {
    /// What a Node worker's preload told.
    pub(in crate::runtime) fn take_measured(&mut self, worker: WorkerId, measured: Measured) {
        if self.children.contains_key(&worker) {
            self.bus.growing.measured.insert(worker, measured);
            self.take_size(worker, Memory::Heap, measured.heap);
        }
    }

    fn take_size(&mut self, worker: WorkerId, memory: Memory, bytes: u64) {
        let Some(child) = self.children.get(&worker) else { return };
        let window = child.spec.times.leak_window;
        self.step_growth(Event::Size { worker, memory, bytes, window });
    }

    /// Somebody looks at the metrics, for which resident memory was read.
    pub(in crate::runtime) fn looked_at(&mut self, status: &AppStatus) {
        let window = self.core.spec().times.leak_window;
        self.step_growth(Event::Looked { window });
        for entry in &status.workers {
            if let (Some(worker), Some(bytes)) = (entry.worker, entry.rss_bytes) {
                self.take_size(WorkerId(worker), Memory::Resident, bytes);
            }
        }
    }

    /// Reads resident memory if it is time to.
    pub(in crate::runtime) fn watch_growth(&mut self) {
        let window = self.core.spec().times.leak_window;
        self.step_growth(Event::Turn { window });
    }

    fn step_growth(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.bus.growing.policy.step(clock::now(), event, &mut actions);
        for action in actions {
            match action {
                Action::ReadResident => self.read_resident(),
                Action::Suspect(suspicion) => self.report_suspicion(&suspicion),
            }
        }
    }

    fn read_resident(&mut self) {
        let live = self.children.values().filter(|child| child.ended.is_none());
        let families: Vec<(WorkerId, Vec<u32>)> =
            live.map(|child| (child.id, target::descendants(child.pid.0))).collect();
        let pids: Vec<u32> = families.iter().flat_map(|(_, pids)| pids).copied().collect();
        let usage = self.sampler.usage(&pids);
        for (worker, pids) in families {
            let bytes = pids.iter().filter_map(|pid| usage.get(pid)).map(|u| u.rss_bytes).sum();
            self.take_size(worker, Memory::Resident, bytes);
        }
    }

    fn report_suspicion(&mut self, suspicion: &Suspicion) {
        let Some(child) = self.children.get(&suspicion.worker) else { return };
        let message = sentence(child.slot, suspicion);
        self.publish(Notice {
            slot: Some(child.slot.0),
            worker: Some(child.id.0),
            generation: Some(child.generation.0),
            ..Notice::of_app(NoticeKind::Warning, message)
        });
    }

    /// A line for people on each worker that may leak.
    pub(in crate::runtime) fn growth_notes(&self) -> Vec<String> {
        let note = |suspicion: Suspicion| {
            Some(sentence(self.children.get(&suspicion.worker)?.slot, &suspicion))
        };
        self.bus.growing.policy.suspicions().filter_map(note).collect()
    }

    /// A worker is gone.
    pub(in crate::runtime) fn forget_growth(&mut self, worker: WorkerId) {
        self.bus.growing.measured.remove(&worker);
        self.step_growth(Event::Gone { worker });
    }

    /// What Node workers told last, by slot; while one is replaced, of its newest worker.
    pub(in crate::runtime) fn node_metrics(&self) -> Vec<Metric> {
        let of_slot = |(worker, measured): (&WorkerId, &Measured)| {
            Some((self.children.get(worker)?.slot.0, *measured))
        };
        let by_slot: BTreeMap<u16, Measured> =
            self.bus.growing.measured.iter().filter_map(of_slot).collect();
        let mut all = Vec::new();
        for (slot, measured) in by_slot {
            let slot = slot.to_string();
            let mut add = |name, unit: &str, labels: &[(&str, &str)], value| {
                let unit = unit.to_owned();
                all.push(Metric { unit, ..metric(MetricKind::Gauge, name, labels, value) });
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
    use std::time::Duration;

    use super::*;
    use crate::policy::leak::Growth;

    #[test]
    fn the_sentence() {
        for (over, expected) in [(1800, "30 min"), (119, "119 s")] {
            let growth = Growth { per_hour: 12.2 * MIB, over: Duration::from_secs(over) };
            let suspicion = Suspicion { worker: WorkerId(3), memory: Memory::Heap, growth };
            let expected = format!(
                "leak suspected: the heap of slot 1 (worker 3) grows by 12 MiB/h, seen over {expected}"
            );
            assert_eq!(sentence(Slot(1), &suspicion), expected);
        }
    }
}
