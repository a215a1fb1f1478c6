//! Unix sockets that workers make themselves. Unlike a TCP address, the path of such a socket has
//! one owner: a program removes what lies there and binds, or fails. So a successor that starts
//! beside its predecessor takes the clients away before it can serve, and the predecessor may
//! remove the path as it leaves. A reload is refused before anything of that happens.
//!
//! A worker that serves TCP, too, may use such a socket for something of its own, such as a control
//! socket. That is left to the program.

use std::collections::{BTreeMap, BTreeSet};

use super::Primary;
use super::slots::pools::Pools;
use super::worker::Worker;
use crate::base::ids::Slot;

impl Primary {
    /// Why the workers that `to` replaces cannot have successors beside them. `None`: they can, as
    /// far as is known.
    pub(super) fn owns_unix_sockets(&self, to: &Pools) -> Option<String> {
        let replaced = |slot: Slot| {
            self.slots.get(&slot).is_some_and(|state| to.replaces(slot, state.plan.generation))
        };
        let (slot, worker) =
            self.serve_unix_only().into_iter().find(|(slot, _)| replaced(*slot))?;
        let paths: Vec<&str> = worker.unix_paths.iter().map(String::as_str).collect();
        let (slot, paths) = (slot.0, paths.join(" and "));
        Some(format!(
            "slot {slot} made its unix socket {paths} itself, and a successor would take the path \
             away before it serves; if the program takes inherited sockets (LISTEN_FDS), start it \
             with `--listen unix:PATH`; else use `restart --hard`, which turns clients away for a \
             moment"
        ))
    }

    /// A sentence for each path that several workers serve: only the last one is reached.
    pub(super) fn doubled_unix_sockets(&self) -> Vec<String> {
        let mut slots: BTreeMap<&str, BTreeSet<Slot>> = BTreeMap::new();
        for (slot, worker) in self.serve_unix_only() {
            for path in &worker.unix_paths {
                slots.entry(path).or_default().insert(slot);
            }
        }
        let doubled = slots.into_iter().filter(|(_, slots)| slots.len() > 1);
        let told = doubled.map(|(path, slots)| {
            format!(
                "{} workers made the unix socket {path}, so only the last of them is reached; if \
                 the program takes inherited sockets (LISTEN_FDS), start it with `--listen \
                 unix:{path}`",
                slots.len()
            )
        });
        told.collect()
    }

    /// The ready workers that listen on unix sockets of their own, and on nothing else.
    fn serve_unix_only(&self) -> Vec<(Slot, &Worker)> {
        self.wanted()
            .filter_map(|(slot, state)| Some((slot, self.seated(state)?)))
            .filter(|(_, worker)| worker.serves_own_unix())
            .collect()
    }
}
