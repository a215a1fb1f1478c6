//! Slot sockets that their worker has closed while it goes on with another of the same address: a
//! program that set SO_REUSEPORT listens anew and then closes the old socket (`caddy reload`). Our
//! copy keeps the old one open, and nobody would accept what goes there. No event tells of a
//! close, so the primary looks into those workers that have several sockets of one address.
//!
//! What waits in such a socket waits for the next worker of the slot.

use super::Runtime;
use super::context::Place;
use super::workers::Child;
use crate::base::ids::WorkerId;
use crate::base::time::Time;
use crate::primary::event::Cue;
use crate::sys::target;

impl Runtime {
    /// Looks for closed sockets, if that is due.
    pub(super) fn look_for_closed_sockets(&mut self, now: Time) {
        if self.closed_sockets.deadline().is_some_and(|due| due > now) {
            return;
        }
        let several = self.children.values().filter(|child| has_several(child));
        let workers: Vec<WorkerId> = several.map(|child| child.id).collect();
        let watched = !workers.is_empty();
        let closed = workers.into_iter().flat_map(|worker| self.closed_by(worker)).collect();
        for (worker, (listener, socket)) in self.closed_sockets.looked(now, watched, closed) {
            self.cue(worker, Cue::Closed { listener, socket });
        }
    }

    /// The listening sockets that no process of a worker has open.
    fn closed_by(&self, worker: WorkerId) -> Vec<(WorkerId, Place)> {
        let Some(child) = self.children.get(&worker) else { return Vec::new() };
        let Ok(open) = target::sockets_of(&self.family(worker)) else { return Vec::new() };
        let lent = child.lent_alone(&self.listeners);
        let closed = lent
            .filter(|(place, inode)| !open.contains(inode) && !child.has_only_bound(*place, &open));
        closed.map(|(place, _)| (worker, place)).collect()
    }
}

/// Whether a worker was lent several sockets of one listener by `bind`. Asked in each turn.
fn has_several(child: &Child) -> bool {
    // Those of one listener stand beside each other.
    let (lent, next) = (child.lent.keys(), child.lent.keys().skip(1));
    let several = || lent.zip(next).any(|((one, _), (other, _))| one == other);
    child.ended.is_none() && several() && child.node().is_none()
}
