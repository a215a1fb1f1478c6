//! Slot sockets that their worker has closed while it goes on. Our copy keeps such a socket open,
//! and nobody would accept what goes there. No event tells of a close, so the primary looks into
//! those workers that may do this: a program that set SO_REUSEPORT listens anew and then closes the
//! old socket (`caddy reload`), or one opens a port for a single transfer (FTP).
//!
//! What waits in such a socket waits for the next worker of the slot, or ends with its listener.

use super::Runtime;
use super::context::Place;
use super::workers::Child;
use crate::base::ids::WorkerId;
use crate::base::time::Time;
use crate::policy::closed_sockets::Watched;
use crate::primary::event::Cue;
use crate::sys::target;

impl Runtime {
    /// Looks for closed sockets, if that is due.
    pub(super) fn look_for_closed_sockets(&mut self, now: Time) {
        if self.closed_sockets.deadline().is_some_and(|due| due > now) {
            return;
        }
        let several = self.children.values().any(has_several);
        let may_close = |child: &&Child| has_several(child) || self.has_late(child);
        let workers: Vec<WorkerId> =
            self.children.values().filter(may_close).map(|child| child.id).collect();
        let watched = match (several, workers.is_empty()) {
            (true, _) => Watched::Closely,
            (false, false) => Watched::Loosely,
            (false, true) => Watched::Not,
        };
        let closed = workers.into_iter().flat_map(|worker| self.closed_by(worker)).collect();
        for (worker, (listener, socket)) in self.closed_sockets.looked(now, watched, closed) {
            self.cue(worker, Cue::Closed { listener, socket });
        }
    }

    /// The listening sockets that no process of a worker has open.
    fn closed_by(&self, worker: WorkerId) -> Vec<(WorkerId, Place)> {
        let Some(child) = self.children.get(&worker) else { return Vec::new() };
        let Ok(open) = target::sockets_of(&self.family(worker)) else { return Vec::new() };
        let (lent, all) = (child.lent_alone(&self.listeners), has_several(child));
        let closed = lent
            .filter(|(place, _)| all || self.core.is_late(worker, place.0))
            .filter(|(place, inode)| !open.contains(inode) && !child.has_only_bound(*place, &open));
        closed.map(|(place, _)| (worker, place)).collect()
    }

    fn has_late(&self, child: &Child) -> bool {
        child.ended.is_none() && child.node().is_none() && self.core.has_late(child.id)
    }
}

/// Whether a worker was lent several sockets of one listener by `bind`. Asked in each turn.
fn has_several(child: &Child) -> bool {
    // Those of one listener stand beside each other.
    let (lent, next) = (child.lent.keys(), child.lent.keys().skip(1));
    let several = || lent.zip(next).any(|((one, _), (other, _))| one == other);
    child.ended.is_none() && several() && child.node().is_none()
}
