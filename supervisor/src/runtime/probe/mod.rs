//! What the kernel and the workers show of a worker: whether it is drained, hung or growing.

pub(super) mod closed;
pub(crate) mod drain;
pub(crate) mod growth;
pub(crate) mod hang;
mod on_stop;

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use self::drain::{Drain, Known, Table};
use self::growth::Growing;
use self::hang::Progress;
use super::context::Context;
use crate::base::ids::WorkerId;
use crate::base::time::Time;
use crate::primary::event::{Gauge, Look};
use crate::sys::{clock, procfs, target};

/// What is measured, and what was read for it.
#[derive(Debug)]
pub(super) struct Probes {
    /// The workers' memory.
    pub(super) growing: Growing,
    /// This turn's view of the kernel's connections.
    table: Option<Table>,
}

impl Probes {
    /// Nothing was measured yet.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { growing: Growing::new()?, table: None })
    }

    /// A new turn: what was read of the kernel's connections is no longer true.
    pub(super) fn new_turn(&mut self) {
        self.table = None;
    }

    /// Answers `Action::Look`.
    pub(super) fn look(&mut self, at: &mut Context<'_>, worker: WorkerId) -> Option<Look> {
        let child = at.children.get(&worker)?;
        // Connections on their way to it are its own as well.
        let queued = at.listeners.queued_in(child.lent.keys()) + child.handed();
        let still = procfs::is_still(&target::descendants(child.pid.0), child.pid.0);
        // What was read before it stood still may lack a connection that it took since.
        let read = self.table.take().filter(|_| !still);
        let read = read.unwrap_or_else(|| Table::read(at.listeners));
        let child = at.children.get_mut(&worker)?;
        let idle = child.spec.times.drain_idle;
        let known = Known {
            pid: child.pid.0,
            queued,
            ends_kept: child.ends_kept && child.node().is_some(),
            stop_signal: child.spec.stop_signal,
        };
        let drain = child.drain.get_or_insert_with(Drain::default);
        let look = drain.look(known, &read, idle);
        self.table = Some(read);
        Some(Look { still, ..look })
    }

    /// Answers `Action::Gauge`. `oldest_handed`: when the oldest connection that it has not taken
    /// was handed to it; `most`: how many connections it may have at a time.
    pub(super) fn gauge(
        &mut self,
        at: &mut Context<'_>,
        worker: WorkerId,
        oldest_handed: Option<Time>,
        most: Option<u32>,
    ) -> Option<Gauge> {
        let now = clock::now();
        let child = at.children.get(&worker)?;
        let queued = at.listeners.queued_in(child.lent.keys());
        let waiting = queued.saturating_add(child.handed());
        if waiting == 0 {
            at.children.get_mut(&worker)?.progress = Progress::default();
            return Some(Gauge { waiting, moved: false, oldest: Duration::ZERO });
        }
        let taken = child.accepted(at.listeners).map(|given| given.saturating_sub(queued.into()));
        let oldest_handed = oldest_handed.map(|since| now.since(since));
        let known = self.table.take().unwrap_or_else(|| Table::read(at.listeners));
        let lent = child.lent.keys();
        let ports: BTreeSet<u16> =
            lent.filter_map(|(listener, _)| at.listeners.get(*listener)?.port()).collect();
        let child = at.children.get_mut(&worker)?;
        let mut gauge = child.progress.gauge(child.pid.0, (waiting, taken), &known, &ports, now);
        // One that has as many as it may have takes no more, and is right.
        gauge.moved |= most.is_some_and(|most| known.held_by(child.pid.0) >= Some(most));
        self.table = Some(known);
        Some(Gauge { oldest: gauge.oldest.max(oldest_handed.unwrap_or_default()), ..gauge })
    }
}
