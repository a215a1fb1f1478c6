//! TCP sockets on which workers listen, and which the supervisor did not lend (`own_sockets` of
//! `policy`).

use std::collections::HashMap;
use std::net::SocketAddr;

use super::Runtime;
use super::workers::Child;
use crate::base::ids::WorkerId;
use crate::base::own_sockets::OwnSockets;
use crate::base::time::Time;
use crate::policy::own_sockets::Facts;
use crate::primary::event::Cue;
use crate::sys::{diag, target};

impl Runtime {
    /// Looks at the workers whose time has come.
    pub(super) fn look_for_own_sockets(&mut self, now: Time) {
        if self.own_sockets.deadline().is_some_and(|due| due <= now) {
            let due = self.own_sockets.due(now);
            self.look_at_own_sockets(due);
        }
    }

    /// Looks at these workers, and tells the core what is news.
    pub(super) fn look_at_own_sockets(&mut self, workers: Vec<WorkerId>) {
        let mut listening: Option<HashMap<u64, SocketAddr>> = None;
        for worker in workers {
            match self.children.get(&worker) {
                None => {
                    self.own_sockets.forget(worker);
                    continue;
                }
                // Without interception the program's sockets are its own business.
                Some(child) if child.calls().is_none() || child.ended.is_some() => continue,
                Some(_) => {}
            }
            let Ok(open) = target::sockets_of(&self.family(worker)) else { continue };
            if listening.is_none() {
                // Without the list nothing can be said; the next look may have it.
                let Ok(all) = diag::all_listening() else { return };
                listening =
                    Some(all.into_iter().map(|(address, inode)| (inode, address)).collect());
            }
            let mut seen = OwnSockets::default();
            let of_worker = |inode: u64| Some((inode, *listening.as_ref()?.get(&inode)?));
            for (inode, address) in open.into_iter().filter_map(of_worker) {
                seen.add(address.to_string(), self.what_it_is(worker, inode, address));
            }
            if let Some(news) = self.own_sockets.looked(worker, seen) {
                self.cue(worker, Cue::OwnSockets(news));
            }
        }
    }

    fn what_it_is(&self, worker: WorkerId, inode: u64, address: SocketAddr) -> Facts {
        let child = self.children.get(&worker);
        let lent = |child: &Child| {
            child.bound_only.contains_key(&inode) || child.shut_down.contains_key(&inode)
        };
        let mut patterns = child.into_iter().flat_map(|child| &child.spec.passthrough);
        Facts {
            is_ours: self.listeners.by_inode(inode).is_some() || self.children.values().any(lent),
            // A worker may get a socket from another.
            let_through: self.children.values().any(|child| child.let_through(inode)),
            passthrough: patterns.any(|pattern| pattern.matches(address)),
        }
    }
}

/// The most sockets of which the primary remembers that it left their `listen` to the kernel.
const MOST_LET_THROUGH: usize = 256;

impl Child {
    /// Notes that an intercepted `listen` of this socket is left to the kernel.
    pub(super) fn lets_through(&mut self, inode: u64) {
        let Some(inodes) = &mut self.let_through else { return };
        // The kernel counts up: the lowest is the oldest.
        if inodes.len() >= MOST_LET_THROUGH {
            inodes.pop_first();
        }
        inodes.insert(inode);
    }

    /// Whether an intercepted `listen` of this socket was left to the kernel.
    fn let_through(&self, inode: u64) -> bool {
        self.let_through.as_ref().is_none_or(|inodes| inodes.contains(&inode))
    }
}
