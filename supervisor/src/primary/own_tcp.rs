//! TCP sockets of the workers' own: those that the supervisor left to the program, and those that
//! it did not see come. A program that binds and listens by io_uring passes every system call
//! filter.
//!
//! Such a socket is closed with its worker, and what waits in it is lost. A reload of a worker that
//! has one the supervisor did not see would turn clients away while it says that it does not, so it
//! is refused.

use super::Primary;
use super::slots::pools::Pools;
use super::worker::Worker;
use super::worker::state::Change;
use crate::base::ids::Slot;
use crate::base::own_sockets::OwnSockets;

impl OwnSockets {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.let_through.is_empty() && self.unseen.is_empty()
    }

    /// All addresses.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.let_through.union(&self.unseen).map(String::as_str)
    }

    fn unseen(&self) -> String {
        self.unseen.iter().map(String::as_str).collect::<Vec<_>>().join(" and ")
    }
}

impl Worker {
    /// Notes what a look showed.
    pub(super) fn has_own(&mut self, own: OwnSockets) -> Change {
        self.own = own;
        Change::Nothing
    }

    /// Whether a successor could take over from it, as far as is known.
    pub(super) fn can_be_succeeded(&self) -> bool {
        !self.serves_own_unix() && self.own.unseen.is_empty()
    }
}

impl Primary {
    /// Why the workers that `to` replaces cannot be succeeded without a loss. `None`: they can, as
    /// far as is known.
    pub(super) fn owns_unseen_sockets(&self, to: &Pools) -> Option<String> {
        let replaced = |slot: Slot| {
            self.slots.get(&slot).is_some_and(|state| to.replaces(slot, state.plan.generation))
        };
        let (slot, worker) = self.unseen().find(|(slot, _)| replaced(*slot))?;
        Some(format!(
            "slot {slot} listens on {}, and the supervisor did not see how (io_uring?), so a \
             successor would turn clients away; start it with `--io-uring deny` if the program can \
             do without, name the address in \"passthrough\" if its clients do not matter, or use \
             `restart --hard`, which turns clients away for a moment",
            worker.own.unseen()
        ))
    }

    /// A sentence about the first worker that listens unseen.
    pub(super) fn unseen_sockets(&self) -> Vec<String> {
        let told = self.unseen().next().map(|(slot, worker)| {
            format!(
                "slot {slot} listens on {}, and the supervisor did not see how (io_uring?): it \
                 neither balances nor keeps these connections, and a reload is refused; \
                 `--io-uring deny` makes most programs listen in the usual way",
                worker.own.unseen()
            )
        });
        told.into_iter().collect()
    }

    fn unseen(&self) -> impl Iterator<Item = (Slot, &Worker)> {
        self.wanted()
            .filter_map(|(slot, state)| Some((slot, self.seated(state)?)))
            .filter(|(_, worker)| worker.is_ready() && !worker.own.unseen.is_empty())
    }
}
