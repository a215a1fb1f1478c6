//! What the kernel and the workers show of a worker: whether it is drained, hung, growing, or
//! near a limit.

pub(super) mod closed;
pub(crate) mod drain;
pub(crate) mod growth;
pub(crate) mod hang;
mod limits;
mod oom;

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use self::drain::{Drain, Known, Table};
use self::growth::Growing;
use self::hang::Progress;
use self::oom::OomKills;
use super::context::{Context, Place};
use crate::base::ids::WorkerId;
use crate::base::time::Time;
use crate::policy::limit_watch::LimitWatch;
use crate::primary::event::{Gauge, Look};
use crate::sys::{clock, procfs};

/// What is measured, and what was read for it.
#[derive(Debug)]
pub(super) struct Probes {
    /// The workers' memory.
    pub(super) growing: Growing,
    /// The workers that have limits.
    pub(super) limits: LimitWatch,
    pub(super) oom_kills: OomKills,
    /// This turn's view of the kernel's connections.
    table: Option<Table>,
}

impl Probes {
    /// Nothing was measured yet.
    pub(super) fn new() -> io::Result<Self> {
        let (limits, oom_kills) = (LimitWatch::default(), OomKills::new());
        Ok(Self { growing: Growing::new()?, limits, oom_kills, table: None })
    }

    /// A new turn: what was read of the kernel's connections is no longer true.
    pub(super) fn new_turn(&mut self) {
        self.table = None;
    }

    /// Answers `Action::Look` about a worker with these processes, which has closed these sockets.
    pub(super) fn look(
        &mut self,
        at: &mut Context<'_>,
        worker: WorkerId,
        family: &[u32],
        closed: &[Place],
    ) -> Option<Look> {
        let child = at.children.get(&worker)?;
        // Connections on their way to it are its own as well. What waits in a socket that it has
        // closed waits for the slot's next worker.
        let open = child.lent.keys().filter(|place| !closed.contains(place));
        let queued = at.listeners.queued_in(open) + child.handed();
        let still = procfs::is_still(family, child.pid.0);
        // What was read before it stood still may lack a connection that it took since.
        let read = self.table.take().filter(|_| !still);
        let read = read.unwrap_or_else(|| Table::read(at.listeners));
        let child = at.children.get_mut(&worker)?;
        let idle = child.spec.times.drain_idle;
        let known = Known {
            queued,
            ends_kept: child.ends_kept && child.node().is_some(),
            stop_signal: child.spec.stop_signal,
        };
        let drain = child.drain.get_or_insert_with(Drain::default);
        let look = drain.look(known, family, &read, idle);
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
