//! What the kernel and the workers show of a worker: whether it is drained, hung or growing.

pub(crate) mod drain;
pub(crate) mod growth;
pub(crate) mod hang;
mod on_stop;

use self::drain::{Drain, Known, Table};
use super::context::{Context, Place};
use crate::base::ids::WorkerId;
use crate::primary::event::Look;
use crate::sys::procfs;

/// Answers `Action::Look` about a worker with these processes, which has
/// closed some of its sockets. `table`: what was read of the
/// kernel's connections in this turn.
pub(super) fn look(
    at: &mut Context<'_>,
    table: &mut Option<Table>,
    worker: WorkerId,
    family: &[u32],
    closed: &[Place],
) -> Option<Look> {
    let child = at.children.get(&worker)?;
    // Connections on their way to it are its own as well.
    // What waits in one that it has closed waits for the next worker of the slot.
    let open = child.lent.keys().filter(|place| !closed.contains(place));
    let queued = at.listeners.queued_in(open) + child.handed();
    let still = procfs::is_still(family, child.pid.0);
    // What was read before it stood still may lack a connection that it took since.
    let read = table.take().filter(|_| !still);
    let read = read.unwrap_or_else(|| Table::read(at.listeners));
    let child = at.children.get_mut(&worker)?;
    let idle = child.spec.times.drain_idle;
    let known = Known {
        queued,
        ends_kept: child.ends_kept && child.node.is_some(),
        stop_signal: child.spec.stop_signal,
    };
    let drain = child.drain.get_or_insert_with(Drain::default);
    let look = drain.look(known, family, &read, idle);
    *table = Some(read);
    Some(Look { still, ..look })
}
