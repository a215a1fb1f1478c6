//! The orders of apps and of workers.

use std::cmp::Ordering;

use ipc::control::WorkerStatus;

use crate::cli::output::table::larger_first;
use crate::cli::output::tone::Tone;
use crate::cli::watch::{App, worker_tone};

/// By what a table is sorted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Key {
    /// What needs attention first.
    #[default]
    Trouble,
    /// By name, or by slot.
    Name,
    Cpu,
    Memory,
    Connections,
    Accepted,
    Backlog,
    Restarts,
    /// The youngest first.
    Uptime,
}

/// A key and its direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sort {
    pub(crate) key: Key,
    pub(crate) reversed: bool,
}

impl Key {
    const ALL: [Self; 9] = [
        Self::Trouble,
        Self::Name,
        Self::Cpu,
        Self::Memory,
        Self::Connections,
        Self::Accepted,
        Self::Backlog,
        Self::Restarts,
        Self::Uptime,
    ];

    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Trouble => "trouble",
            Self::Name => "name",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Connections => "connections",
            Self::Accepted => "accepted/s",
            Self::Backlog => "queue",
            Self::Restarts => "restarts",
            Self::Uptime => "uptime",
        }
    }
}

impl Sort {
    /// The next key, in its own direction.
    pub(crate) fn next(self) -> Self {
        let at = Key::ALL.iter().position(|key| *key == self.key).unwrap_or(0);
        Self { key: Key::ALL[(at + 1) % Key::ALL.len()], reversed: false }
    }

    /// This key; the other direction if it is the present one.
    pub(crate) fn by(self, key: Key) -> Self {
        Self { key, reversed: key == self.key && !self.reversed }
    }

    /// The order of two apps. The name decides between equal ones.
    pub(crate) fn apps(self, a: &App, b: &App) -> Ordering {
        let order = match self.key {
            Key::Trouble => a.trouble().cmp(&b.trouble()),
            Key::Name => a.status.name.cmp(&b.status.name),
            Key::Cpu => larger_first(a.cpu.latest(), b.cpu.latest()),
            Key::Memory => larger_first(a.memory.latest(), b.memory.latest()),
            Key::Connections => larger_first(a.connections(), b.connections()),
            Key::Accepted => larger_first(a.accepted.latest(), b.accepted.latest()),
            Key::Backlog => larger_first(Some(a.backlog()), Some(b.backlog())),
            Key::Restarts => b.status.restarts.cmp(&a.status.restarts),
            Key::Uptime => a.status.uptime_ms.cmp(&b.status.uptime_ms),
        };
        self.directed(order).then_with(|| a.status.name.cmp(&b.status.name))
    }

    /// The order of two workers with what they accept per second. The slot decides between equal
    /// ones, and then the generation.
    pub(crate) fn workers(
        self,
        (a, a_rate): (&WorkerStatus, Option<f64>),
        (b, b_rate): (&WorkerStatus, Option<f64>),
    ) -> Ordering {
        let float = |value: Option<f32>| value.map(f64::from);
        let order = match self.key {
            // Busy workers stay in their place: a rollout is read from top to bottom.
            Key::Trouble => worker_trouble(a).cmp(&worker_trouble(b)),
            Key::Name => a.slot.cmp(&b.slot),
            Key::Cpu => larger_first(float(a.cpu_percent), float(b.cpu_percent)),
            Key::Memory => b.rss_bytes.cmp(&a.rss_bytes),
            Key::Connections => b.connections.cmp(&a.connections),
            Key::Accepted => larger_first(a_rate, b_rate),
            Key::Backlog => b.backlog.cmp(&a.backlog),
            Key::Restarts => b.restarts.cmp(&a.restarts),
            Key::Uptime => a.uptime_ms.cmp(&b.uptime_ms),
        };
        let place = |worker: &WorkerStatus| (worker.slot, worker.generation, worker.pid);
        self.directed(order).then_with(|| place(a).cmp(&place(b)))
    }

    fn directed(self, order: Ordering) -> Ordering {
        if self.reversed { order.reverse() } else { order }
    }
}

/// A rank: workers in trouble first, all others alike.
fn worker_trouble(worker: &WorkerStatus) -> Tone {
    worker_tone(worker).min(Tone::Busy)
}
