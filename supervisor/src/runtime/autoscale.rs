//! Looks at the load of an app whose number of workers follows it, and tells the core what it asks
//! for. `policy::autoscale` decides that.

use std::collections::BTreeSet;
use std::io;

use config::pool::OWN;
use config::spec::Instances;

use super::context::Context;
use super::workers::Child;
use crate::base::ids::{ListenerId, WorkerId};
use crate::base::time::Time;
use crate::policy::autoscale::{Autoscale, Bounds, EVERY, Load, Verdict};
use crate::primary::event::Event;
use crate::sys::procfs::Sampler;
use crate::sys::target;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct AutoscaleWatch {
    policy: Autoscale,
    /// Its CPU figures are about the time between two looks of ours. `None`: there was no look.
    sampler: Option<Sampler>,
    /// The workers of the last look. CPU figures of a new one say nothing yet.
    known: BTreeSet<WorkerId>,
    due: Option<Time>,
}

impl AutoscaleWatch {
    /// When to look next.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.due
    }

    /// Looks at the load if it is time to. `settled`: nothing changes the app.
    pub(super) fn look(&mut self, at: &mut Context<'_>, now: Time, settled: impl FnOnce() -> bool) {
        let Instances::Between { min, max } = at.spec.instances else {
            if self.due.is_some() {
                *self = Self::default();
            }
            return;
        };
        if self.due.is_some_and(|due| due > now) {
            return;
        }
        self.due = Some(now + EVERY);
        let load = match self.load(at, settled()) {
            Ok(load) => load,
            Err(error) => return at.note(format!("cannot look at the load: {error}")),
        };
        let bounds = Bounds { min, max, cooldown: at.spec.scale_cooldown };
        if let Some(Verdict { to, because }) = self.policy.look(now, bounds, load) {
            at.inbox.push_back(Event::LoadAsks { to, because });
        }
    }

    fn load(&mut self, at: &Context<'_>, settled: bool) -> io::Result<Load> {
        let sampler = match &mut self.sampler {
            Some(sampler) => sampler,
            none => none.insert(Sampler::new()?),
        };
        let serves =
            |child: &&Child| child.ended.is_none() && !child.is_hook && child.spec.pool() == OWN;
        let all: Vec<&Child> = at.children.values().filter(serves).collect();
        let lent = all.iter().flat_map(|child| child.lent.keys());
        let listeners: BTreeSet<ListenerId> = lent.map(|(listener, _)| *listener).collect();
        let queued = listeners.iter().filter_map(|id| Some(at.listeners.get(*id)?.backlog()));
        let handed = all.iter().filter_map(|child| Some(child.node()?.link.pending()));
        let handed = u32::try_from(handed.sum::<usize>()).unwrap_or(u32::MAX);
        let pids: Vec<u32> = all.iter().flat_map(|c| target::descendants(c.pid.0)).collect();
        let cpu = sampler.usage(&pids).values().map(|usage| usage.cpu_percent).sum();
        let known = all.iter().map(|child| child.id).collect();
        let settled = settled && std::mem::replace(&mut self.known, known) == self.known;
        let backlog = queued.sum::<u32>().saturating_add(handed);
        Ok(Load { wanted: at.spec.wanted, settled, backlog, cpu })
    }
}
