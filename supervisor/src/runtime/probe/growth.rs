//! Whether a worker's memory only grows. `policy::memory_watch` says when memory is read and which
//! worker is suspected; here it is read, and people are told. What Node workers measured of
//! themselves (`preload`) is kept here for the metrics.

use std::collections::{BTreeMap, HashMap};
use std::io;

use ipc::control::{AppStatus, Notice, NoticeKind};
use ipc::node::Measured;

use crate::base::ids::{Slot, WorkerId};
use crate::base::time::Time;
use crate::policy::memory_watch::{Action, Event, Memory, MemoryWatch, Suspicion};
use crate::runtime::context::Context;
use crate::runtime::snapshot::pieces::Children;
use crate::runtime::workers::Child;
use crate::sys::procfs::{Sampler, Usage};
use crate::sys::{clock, target};

const MIB: f64 = 1024.0 * 1024.0;

/// The workers' memory.
#[derive(Debug)]
pub(in crate::runtime) struct Growing {
    sampler: Sampler,
    policy: MemoryWatch,
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

impl Growing {
    /// Nothing was measured yet.
    pub(in crate::runtime) fn new() -> io::Result<Self> {
        let (policy, measured) = (MemoryWatch::default(), BTreeMap::new());
        Ok(Self { sampler: Sampler::new()?, policy, measured })
    }

    /// What a Node worker's preload told.
    pub(in crate::runtime) fn take_measured(
        &mut self,
        at: &mut Context<'_>,
        worker: WorkerId,
        measured: Measured,
    ) {
        if at.children.contains_key(&worker) {
            self.measured.insert(worker, measured);
            self.take_size(at, worker, Memory::Heap, measured.heap);
        }
    }

    fn take_size(&mut self, at: &mut Context<'_>, worker: WorkerId, memory: Memory, bytes: u64) {
        let Some(child) = at.children.get(&worker) else { return };
        let window = child.spec.times.leak_window;
        self.step(at, Event::Size { worker, memory, bytes, window });
    }

    /// Somebody looks at the metrics, for which resident memory was read.
    pub(in crate::runtime) fn looked_at(&mut self, at: &mut Context<'_>, status: &AppStatus) {
        self.step(at, Event::Looked { window: at.spec.times.leak_window });
        for entry in &status.workers {
            if let (Some(worker), Some(bytes)) = (entry.worker, entry.rss_bytes) {
                self.take_size(at, WorkerId(worker), Memory::Resident, bytes);
            }
        }
    }

    /// Reads resident memory if it is time to.
    pub(in crate::runtime) fn watch(&mut self, at: &mut Context<'_>) {
        self.step(at, Event::Turn { window: at.spec.times.leak_window });
    }

    /// When resident memory is to be read.
    pub(in crate::runtime) fn deadline(&self) -> Option<Time> {
        self.policy.deadline()
    }

    fn step(&mut self, at: &mut Context<'_>, event: Event) {
        let mut actions = Vec::new();
        self.policy.step(clock::now(), event, &mut actions);
        for action in actions {
            match action {
                Action::ReadResident => self.read_resident(at),
                Action::Suspect(suspicion) => report_suspicion(at, &suspicion),
            }
        }
    }

    fn read_resident(&mut self, at: &mut Context<'_>) {
        let is_live = |child: &&Child| child.ended.is_none() && !child.is_hook;
        let live = at.children.values().filter(is_live);
        let families: Vec<(WorkerId, Vec<u32>)> =
            live.map(|child| (child.id, target::descendants(child.pid.0))).collect();
        let pids: Vec<u32> = families.iter().flat_map(|(_, pids)| pids).copied().collect();
        let usage = self.sampler.usage(&pids);
        for (worker, pids) in families {
            let bytes = pids.iter().filter_map(|pid| usage.get(pid)).map(|u| u.rss_bytes).sum();
            self.take_size(at, worker, Memory::Resident, bytes);
        }
    }

    /// A line for people on each worker that may leak.
    pub(in crate::runtime) fn notes(&self, children: &Children) -> Vec<String> {
        let note = |suspicion: Suspicion| {
            Some(sentence(children.get(&suspicion.worker)?.slot, &suspicion))
        };
        self.policy.suspicions().filter_map(note).collect()
    }

    /// Memory and CPU of these processes.
    pub(in crate::runtime) fn usage(&mut self, pids: &[u32]) -> HashMap<u32, Usage> {
        self.sampler.usage(pids)
    }

    /// A worker is gone.
    pub(in crate::runtime) fn forget(&mut self, at: &mut Context<'_>, worker: WorkerId) {
        self.measured.remove(&worker);
        self.step(at, Event::Gone { worker });
    }

    /// What Node workers told last, by slot; while one is replaced, of its newest worker.
    pub(in crate::runtime) fn measured(&self, children: &Children) -> BTreeMap<u16, Measured> {
        let of_slot = |(worker, measured): (&WorkerId, &Measured)| {
            Some((children.get(worker)?.slot.0, *measured))
        };
        self.measured.iter().filter_map(of_slot).collect()
    }
}

fn report_suspicion(at: &mut Context<'_>, suspicion: &Suspicion) {
    let Some(child) = at.children.get(&suspicion.worker) else { return };
    let message = sentence(child.slot, suspicion);
    let notice = Notice {
        slot: Some(child.slot.0),
        worker: Some(child.id.0),
        generation: Some(child.generation.0),
        ..Notice::of_app(NoticeKind::Warning, message)
    };
    at.notes.publish(notice);
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
