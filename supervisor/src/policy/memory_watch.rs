//! Watches the memory of the workers: when resident memory is read, and which worker is reported to
//! leak. `leak` judges each series of sizes.
//!
//! The heap of Node workers comes by itself. Resident memory costs a look into /proc for each
//! process, so it is read only while somebody looks at the metrics: every half minute, for an hour
//! after each look. With a short `leak_window` it is read more often.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::leak::{Growth, Track};
use crate::base::ids::WorkerId;
use crate::base::time::Time;

/// How often resident memory is read, unless the window is short.
const EVERY: Duration = Duration::from_secs(30);
/// How often it is read in each window at least: more often than the window has steps in `leak`.
const TIMES_IN_A_WINDOW: u32 = 20;
/// For how long it is read after somebody asked for the metrics.
const AFTER_A_LOOK: Duration = Duration::from_secs(3600);

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// A worker's memory has this size. `window`: its `leak_window`.
    Size { worker: WorkerId, memory: Memory, bytes: u64, window: Duration },
    /// Somebody asked for the metrics. `window`: the app's `leak_window`.
    Looked { window: Duration },
    /// Time has passed. `window`: the app's `leak_window`.
    Turn { window: Duration },
    /// A worker is gone.
    Gone { worker: WorkerId },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Read the resident memory of all workers. Answer: an `Event::Size` for each.
    ReadResident,
    /// Say that a worker may leak; said once of each.
    Suspect(Suspicion),
}

/// Which memory of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Node's JavaScript heap.
    Heap,
    /// Resident memory, that of its children included.
    Resident,
}

/// A worker may leak.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Suspicion {
    pub(crate) worker: WorkerId,
    pub(crate) memory: Memory,
    pub(crate) growth: Growth,
}

/// The memory of all workers.
#[derive(Debug, Default)]
pub(crate) struct MemoryWatch {
    workers: BTreeMap<WorkerId, Watched>,
    /// When somebody last asked for the metrics.
    looked: Option<Time>,
    /// When resident memory is read again.
    due: Option<Time>,
}

#[derive(Debug)]
struct Watched {
    heap: Track,
    resident: Track,
    /// It was said that it may leak.
    said: bool,
}

impl MemoryWatch {
    /// When [`Event::Turn`] is due.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.due
    }

    /// Takes one event in and says what is to be done.
    pub(crate) fn step(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Size { worker, memory, bytes, window } => {
                let watched = self.workers.entry(worker).or_insert_with(|| Watched::new(window));
                watched.track(memory).push(now, bytes);
                if let Some((memory, growth)) = watched.growth()
                    && !std::mem::replace(&mut watched.said, true)
                {
                    out.push(Action::Suspect(Suspicion { worker, memory, growth }));
                }
            }
            Event::Looked { window } => {
                self.looked = Some(now);
                self.due.get_or_insert_with(|| now + interval(window));
            }
            Event::Turn { window } => {
                if self.due.is_some_and(|due| due <= now) {
                    let wanted = self.looked.is_some_and(|at| now.since(at) < AFTER_A_LOOK);
                    self.due = wanted.then(|| now + interval(window));
                    out.push(Action::ReadResident);
                }
            }
            Event::Gone { worker } => _ = self.workers.remove(&worker),
        }
    }

    /// Each worker that may leak, as it looks now.
    pub(crate) fn suspicions(&self) -> impl Iterator<Item = Suspicion> {
        self.workers.iter().filter_map(|(worker, watched)| {
            let (memory, growth) = watched.growth()?;
            Some(Suspicion { worker: *worker, memory, growth })
        })
    }
}

/// How long until resident memory is read again.
fn interval(window: Duration) -> Duration {
    match window {
        Duration::ZERO => EVERY,
        window => EVERY.min(window / TIMES_IN_A_WINDOW),
    }
}

impl Watched {
    fn new(window: Duration) -> Self {
        Self { heap: Track::new(window), resident: Track::new(window), said: false }
    }

    fn track(&mut self, memory: Memory) -> &mut Track {
        match memory {
            Memory::Heap => &mut self.heap,
            Memory::Resident => &mut self.resident,
        }
    }

    /// What grows, and how. A heap that grows takes resident memory with it.
    fn growth(&self) -> Option<(Memory, Growth)> {
        let heap = self.heap.growth().map(|growth| (Memory::Heap, growth));
        heap.or_else(|| self.resident.growth().map(|growth| (Memory::Resident, growth)))
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Heap => "heap",
            Self::Resident => "resident memory",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const WINDOW: Duration = Duration::from_secs(10);

    fn step(watch: &mut MemoryWatch, now: Time, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        watch.step(now, event, &mut actions);
        actions
    }

    /// A size that grows by a mebibyte each second and falls back in between, as a heap does.
    fn grows(watch: &mut MemoryWatch, worker: u64, memory: Memory) -> Vec<Action> {
        let mut actions = Vec::new();
        for tenth in 0..140_u64 {
            let now = Time(0) + SECOND / 10 * u32::try_from(tenth).unwrap();
            let bytes = (30 * 10 + tenth + (tenth % 7) * 15) << 20;
            let (worker, bytes) = (WorkerId(worker), bytes / 10);
            watch.step(now, Event::Size { worker, memory, bytes, window: WINDOW }, &mut actions);
        }
        actions
    }

    #[test]
    fn a_suspicion_is_said_once_and_shown_until_the_worker_is_gone() {
        let mut watch = MemoryWatch::default();
        let said = grows(&mut watch, 1, Memory::Resident);
        let [Action::Suspect(Suspicion { worker: WorkerId(1), memory: Memory::Resident, .. })] =
            said[..]
        else {
            panic!("{said:?}")
        };
        // A heap that grows as well is why resident memory grows.
        assert_eq!(grows(&mut watch, 1, Memory::Heap), []);
        let shown: Vec<_> = watch.suspicions().map(|s| (s.worker, s.memory)).collect();
        assert_eq!(shown, [(WorkerId(1), Memory::Heap)]);
        assert_eq!(step(&mut watch, Time(0), Event::Gone { worker: WorkerId(1) }), []);
        assert_eq!(watch.suspicions().count(), 0);
        // Its successor is another one.
        assert_eq!(grows(&mut watch, 2, Memory::Heap).len(), 1);
    }

    #[test]
    fn resident_memory_is_read_while_somebody_looks() {
        let mut watch = MemoryWatch::default();
        let window = Duration::from_secs(600);
        assert_eq!(step(&mut watch, Time(0), Event::Turn { window }), []);
        assert_eq!(watch.deadline(), None);
        step(&mut watch, Time(0), Event::Looked { window });
        let mut reads = 0;
        while let Some(due) = watch.deadline() {
            assert_eq!(step(&mut watch, due - SECOND, Event::Turn { window }), []);
            assert_eq!(step(&mut watch, due, Event::Turn { window }), [Action::ReadResident]);
            reads += 1;
        }
        assert_eq!(reads, 120);
        // A second look does not put the next reading off.
        step(&mut watch, Time(0) + AFTER_A_LOOK, Event::Looked { window });
        let due = watch.deadline();
        step(&mut watch, Time(0) + AFTER_A_LOOK + SECOND, Event::Looked { window });
        assert_eq!(watch.deadline(), due);
    }

    #[test]
    fn a_short_window_is_read_more_often() {
        for (window, expected) in [(0, 30_000), (10, 500), (600, 30_000), (6000, 30_000)] {
            let window = Duration::from_secs(window);
            assert_eq!(interval(window), Duration::from_millis(expected), "{window:?}");
        }
    }
}
