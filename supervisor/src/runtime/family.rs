//! All processes of a worker: its own, what it started, and what it started and left behind. They
//! drain with it and end with it, unless the app keeps detached processes.

use std::collections::HashSet;

use super::Runtime;
use super::listeners::Listeners;
use super::workers::Child;
use crate::base::ids::WorkerId;
use crate::base::time::Time;
use crate::policy::leftovers::{self, Origin};
use crate::sys::strays::{self, Stray};
use crate::sys::{clock, target};

impl Runtime {
    /// The processes of a worker, its main process first.
    pub(super) fn family(&self, worker: WorkerId) -> Vec<u32> {
        let Some(child) = self.children.get(&worker) else { return Vec::new() };
        let mark = child.mark();
        let mut family = strays::family(child.pid.0, &mark);
        if child.spec.keep_detached || self.keeper.is_lost() {
            return family;
        }
        let mut known: HashSet<u32> = self.children.values().map(|child| child.pid.0).collect();
        known.insert(std::process::id());
        for orphan in strays::orphans(self.keeper.keeper().0, &known) {
            let origin = Origin {
                named: orphan.mark.as_ref().map(|named| *named == mark),
                holds: holds_lent(&self.listeners, child, &orphan.sockets),
            };
            if leftovers::owns(origin) {
                family.extend(strays::family(orphan.pid, &mark));
            }
        }
        family
    }

    /// Whether its program went into the background: a process outside of its group goes on with a
    /// socket that was lent to it.
    pub(super) fn serves_detached(&self, worker: WorkerId) -> bool {
        let Some(child) = self.children.get(&worker) else { return false };
        let serves = |stray: Stray| {
            let sockets = target::sockets_of(&[stray.pid]).unwrap_or_default();
            holds_lent(&self.listeners, child, &sockets)
        };
        self.strays(worker).into_iter().any(serves)
    }

    /// When processes that were left to their parents get the stop signal after all.
    pub(super) fn left_to_parents_until(&self) -> Option<Time> {
        let left = self.children.values().filter_map(|child| child.left.as_ref());
        left.map(|left| left.until).min()
    }

    /// Sends the stop signal to those whose parents have not stopped them in time.
    pub(super) fn stop_those_left(&mut self) {
        let now = clock::now();
        let is_due = |child: &&Child| child.left.as_ref().is_some_and(|left| left.until <= now);
        let due: Vec<WorkerId> = self.children.values().filter(is_due).map(|c| c.id).collect();
        for worker in due {
            let Some(child) = self.children.get_mut(&worker) else { continue };
            if let Some(left) = child.left.take() {
                left.signal(child.spec.stop_signal);
            }
        }
    }

    /// Those of its processes that are not in its process group and end with it.
    pub(super) fn strays(&self, worker: WorkerId) -> Vec<Stray> {
        let Some(child) = self.children.get(&worker) else { return Vec::new() };
        if child.spec.keep_detached {
            return Vec::new();
        }
        let family = self.family(worker);
        family.into_iter().filter_map(|pid| Stray::outside(pid, child.pid.0)).collect()
    }
}

/// Whether one of these sockets is one that only this worker was lent.
fn holds_lent(listeners: &Listeners, child: &Child, inodes: &HashSet<u64>) -> bool {
    child.lent_alone(listeners).any(|(_, inode)| inodes.contains(&inode))
}
