//! Sockets that a worker was lent and has closed. Only Node says so; of other programs the kernel's
//! tables of descriptors tell.

use crate::primary::event::Cue;
use crate::runtime::context::{Context, Place};
use crate::sys::{holders, target};

/// Tells the core which sockets no process but `ours` has open any more, of those that its workers
/// asked for. A worker that cannot be looked into has closed none.
pub(in crate::runtime) fn tell_closed(at: &mut Context<'_>, ours: &[u32]) {
    let mut suspects = Vec::new();
    for (worker, child) in at.children.iter().filter(|(_, child)| child.ended.is_none()) {
        let inherited: Vec<&Place> = child.inherited.values().collect();
        let asked_for = child.lent.keys().filter(|place| !inherited.contains(place));
        let lent: Vec<(Place, u64)> = at.listeners.with_inodes(asked_for).collect();
        if lent.is_empty() {
            continue;
        }
        let Ok(open) = target::sockets_of(&target::descendants(child.pid.0)) else { continue };
        let closed = lent
            .into_iter()
            .filter(|(place, inode)| !open.contains(inode) && !child.has_only_bound(*place, &open));
        suspects.extend(closed.map(|(place, inode)| (*worker, place, inode)));
    }
    if suspects.is_empty() {
        return;
    }
    // A process that left the worker's family may hold it.
    let Some(held) = holders::sockets_of_all_but(ours, &[]) else { return };
    for (worker, (listener, socket), _) in suspects.into_iter().filter(|s| !held.contains(&s.2)) {
        at.cue(worker, Cue::Closed { listener, socket });
    }
}
