//! Measures the workers that have limits (`max_memory`, `max_connections`) and tells the core.
//! `policy::limit_watch` says when.

use std::collections::BTreeSet;

use crate::base::ids::WorkerId;
use crate::base::time::Time;
use crate::policy::limit_watch::Measurement;
use crate::primary::event::{Cue, Used};
use crate::runtime::Runtime;
use crate::sys::{procfs, target};

impl Runtime {
    /// Measures the workers that it is time for.
    pub(in crate::runtime) fn watch_limits(&mut self, now: Time) {
        let measurable = |id: &WorkerId| {
            let limits = self.core.limits_of(*id);
            limits.is_some_and(|limits| limits.memory.is_some() || limits.connections.is_some())
        };
        let limited: BTreeSet<WorkerId> = self
            .children
            .values()
            .filter(|child| child.spec.recycle.is_set() && child.ended.is_none())
            .map(|child| child.id)
            .filter(measurable)
            .collect();
        let watch = &mut self.probes.limits;
        watch.retain(|worker| limited.contains(&worker));
        limited.iter().for_each(|worker| watch.watch(now, *worker));
        for worker in watch.due(now) {
            self.measure(now, worker);
        }
    }

    fn measure(&mut self, now: Time, worker: WorkerId) {
        let (Some(child), Some(limits)) = (self.children.get(&worker), self.core.limits_of(worker))
        else {
            return;
        };
        let memory = limits.memory.map(|_| procfs::resident(&target::descendants(child.pid.0)));
        let found = Measurement {
            memory: memory.unwrap_or(0),
            memory_limit: limits.memory,
            connections: limits.connections.and_then(|_| child.accepted(&self.listeners)),
            connections_limit: limits.connections,
        };
        let growth = self.probes.limits.measured(now, worker, found);
        let Measurement { memory, connections, .. } = found;
        self.cue(worker, Cue::Used(Used { memory, growth, connections }));
    }
}
