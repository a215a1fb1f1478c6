//! The listeners and their sockets: which is lent to whom, which waits for somebody.
//!
//! A socket is never closed while its listener is open. It is lent to one worker at a time, and
//! when that one is gone it is either free for anyone or, if connections may be waiting in it,
//! kept for the slot.
//!
//! A shared listener has one socket for all; who has it is not counted here.

pub(super) mod steering;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::action::Target;
use super::event::OpenedListener;
use super::worker::Plan;
use crate::base::ids::{Generation, ListenerId, Slot, SocketId, WorkerId};

/// Every open listener.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Sockets {
    listeners: BTreeMap<ListenerId, Listener>,
    /// Those that were closed in this turn.
    closed: BTreeSet<ListenerId>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Listener {
    pub(super) opened: OpenedListener,
    /// The generation that it was first opened for.
    first: Option<Generation>,
    /// By [`SocketId`].
    sockets: Vec<Socket>,
    /// Where its new connections go. Empty: nothing has been asked for yet.
    pub(super) steered: Vec<Target>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Socket {
    pub(super) hold: Hold,
    /// Somebody has listened on it, so connections can wait in it.
    pub(super) open: bool,
    /// It has got new connections since it was last known to be empty.
    pub(super) used: bool,
}

/// Who has a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Hold {
    Free,
    /// Lent. `listening`: its holder listens on it.
    Lent {
        worker: WorkerId,
        slot: Slot,
        listening: bool,
    },
    /// Its holder is gone; connections may wait in it (`queued` were seen) for the slot's next.
    Vacant {
        slot: Slot,
        queued: u32,
    },
}

/// Who asks for a socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Borrower {
    pub(super) worker: WorkerId,
    pub(super) slot: Slot,
    /// It serves, or shall serve, its slot: what is kept for the slot is for it.
    pub(super) inherits: bool,
}

impl Sockets {
    /// Takes a listener in. Whether it was new.
    pub(super) fn open(&mut self, opened: OpenedListener, by: Option<Generation>) -> bool {
        if let Some(known) = self.listeners.get_mut(&opened.id) {
            known.opened = opened;
            return false;
        }
        let listener = Listener { opened, first: by, sockets: Vec::new(), steered: Vec::new() };
        self.listeners.insert(listener.opened.id, listener);
        true
    }

    /// Forgets a listener. Whether it was there.
    pub(super) fn close(&mut self, listener: ListenerId) -> bool {
        let known = self.listeners.remove(&listener).is_some();
        if known {
            self.closed.insert(listener);
        }
        known
    }

    /// A turn later than the last begins.
    pub(super) fn begin_turn(&mut self) {
        self.closed.clear();
    }

    pub(super) fn has_just_closed(&self, listener: ListenerId) -> bool {
        self.closed.contains(&listener)
    }

    pub(super) fn knows(&self, listener: ListenerId) -> bool {
        self.listeners.contains_key(&listener)
    }

    /// Which socket of a listener a worker was lent.
    pub(super) fn lent(&self, listener: ListenerId, to: WorkerId) -> Option<SocketId> {
        let listener = self.listeners.get(&listener)?;
        if listener.opened.shared {
            return Some(SocketId(0));
        }
        let is_its =
            |socket: &Socket| matches!(socket.hold, Hold::Lent { worker, .. } if worker == to);
        listener.sockets.iter().position(is_its).map(socket_id)
    }

    /// Chooses a socket and lends it. `None`: there is no such listener (any more).
    pub(super) fn lend(
        &mut self,
        listener: ListenerId,
        borrower: Borrower,
        another: bool,
        by: Generation,
    ) -> Option<SocketId> {
        let listener = self.listeners.get_mut(&listener)?;
        listener.first.get_or_insert(by);
        if listener.opened.shared {
            return Some(SocketId(0));
        }
        let Borrower { worker, slot, inherits } = borrower;
        let find = |wanted: fn(&Hold, Borrower) -> bool| {
            listener.sockets.iter().position(|socket| wanted(&socket.hold, borrower))
        };
        // A program that closes and listens again gets the queue it had.
        if !another && let Some(own) = find(Hold::is_lent_to) {
            return Some(socket_id(own));
        }
        let index = inherits
            .then(|| find(Hold::is_kept_for))
            .flatten()
            .or_else(|| find(|hold, _| *hold == Hold::Free))
            .unwrap_or_else(|| {
                listener.sockets.push(Socket { hold: Hold::Free, open: false, used: false });
                listener.sockets.len() - 1
            });
        listener.sockets[index].hold = Hold::Lent { worker, slot, listening: false };
        Some(socket_id(index))
    }

    /// A worker listens on the socket that it was lent.
    pub(super) fn listening(&mut self, listener: ListenerId, socket: SocketId, by: WorkerId) {
        let lent = self
            .listeners
            .get_mut(&listener)
            .and_then(|listener| listener.sockets.get_mut(index(socket)));
        let Some(lent) = lent else { return };
        if let Hold::Lent { worker, listening, .. } = &mut lent.hold
            && *worker == by
        {
            *listening = true;
            lent.open = true;
        }
    }

    /// A worker has closed the socket that it was lent, and lives on. It may listen there again.
    pub(super) fn closed(&mut self, listener: ListenerId, socket: SocketId, by: WorkerId) {
        let lent = self
            .listeners
            .get_mut(&listener)
            .and_then(|listener| listener.sockets.get_mut(index(socket)));
        if let Some(Socket { hold: Hold::Lent { worker, listening, .. }, .. }) = lent
            && *worker == by
        {
            *listening = false;
        }
    }

    /// A worker is gone; so many connections were seen waiting in what it held, if it was looked.
    pub(super) fn vacate(&mut self, gone: WorkerId, queued: Option<u32>) {
        for listener in self.listeners.values_mut() {
            let steered = &listener.steered;
            for (at, socket) in listener.sockets.iter_mut().enumerate() {
                let Hold::Lent { worker, slot, .. } = socket.hold else { continue };
                if worker != gone {
                    continue;
                }
                let is_target = steered.iter().any(|target| target.socket == socket_id(at));
                socket.used = is_target || queued.map_or(socket.used, |queued| queued > 0);
                let queued = queued.unwrap_or(0);
                socket.hold = if socket.used { Hold::Vacant { slot, queued } } else { Hold::Free };
            }
        }
    }

    /// The listeners that have a socket kept for `slot`, and the connections last seen there.
    pub(super) fn kept_for(&self, slot: Slot) -> impl Iterator<Item = (ListenerId, u32)> {
        self.listeners.iter().flat_map(move |(id, listener)| {
            listener.sockets.iter().filter_map(move |socket| match socket.hold {
                Hold::Vacant { slot: kept_for, queued } if kept_for == slot => Some((*id, queued)),
                Hold::Vacant { .. } | Hold::Lent { .. } | Hold::Free => None,
            })
        })
    }

    /// Nobody will come for what is kept for `slot`.
    pub(super) fn give_up(&mut self, slot: Slot) {
        for socket in self.listeners.values_mut().flat_map(|listener| &mut listener.sockets) {
            if matches!(socket.hold, Hold::Vacant { slot: kept_for, .. } if kept_for == slot) {
                socket.hold = Hold::Free;
            }
        }
    }

    /// Those that are steered.
    pub(super) fn steerable(&mut self) -> impl Iterator<Item = (ListenerId, &mut Listener)> {
        self.listeners.iter_mut().filter(|(_, l)| !l.opened.shared).map(|(id, l)| (*id, l))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.values()
    }

    pub(super) fn ids(&self) -> Vec<ListenerId> {
        self.listeners.keys().copied().collect()
    }

    /// Those that were first opened for this generation.
    pub(super) fn first_of(&self, generation: Generation) -> Vec<ListenerId> {
        let is_its = |listener: &&Listener| listener.first == Some(generation);
        self.iter().filter(is_its).map(|listener| listener.opened.id).collect()
    }

    pub(super) fn find(&self, address: &str) -> Option<ListenerId> {
        self.iter().find(|l| l.opened.address == address).map(|l| l.opened.id)
    }

    pub(super) fn address(&self, listener: ListenerId) -> &str {
        self.listeners.get(&listener).map_or("a closed address", |l| l.opened.address.as_str())
    }

    pub(super) fn is_shared(&self, listener: ListenerId) -> bool {
        self.listeners.get(&listener).is_some_and(|l| l.opened.shared)
    }

    /// Whether it came from a configuration, and this one does not name it any more.
    pub(super) fn is_dropped_by(&self, plan: &Plan, listener: ListenerId) -> bool {
        let is_dropped =
            |l: &Listener| l.opened.name.is_some() && !plan.configures(&l.opened.address);
        self.listeners.get(&listener).is_some_and(is_dropped)
    }
}

impl Listener {
    /// From now on new connections go there. What waits where they went before, for want of
    /// anything better, is kept for a slot that serves now.
    pub(super) fn steer(&mut self, targets: Vec<Target>) {
        let before = std::mem::replace(&mut self.steered, targets);
        for (at, socket) in self.sockets.iter_mut().enumerate() {
            let is_here = |target: &Target| target.socket == socket_id(at);
            if self.steered.iter().any(is_here) {
                socket.used = true;
            } else if socket.hold == Hold::Free
                && before.iter().any(is_here)
                && let Some(Target { slot, .. }) = self.steered.first()
            {
                socket.hold = Hold::Vacant { slot: *slot, queued: 0 };
            }
        }
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = (SocketId, &Socket)> {
        self.sockets.iter().enumerate().map(|(at, socket)| (socket_id(at), socket))
    }

    pub(super) fn count(&self) -> u32 {
        if self.opened.shared { 1 } else { socket_id(self.sockets.len()).0 }
    }
}

impl Hold {
    fn is_lent_to(&self, borrower: Borrower) -> bool {
        matches!(self, Self::Lent { worker, .. } if *worker == borrower.worker)
    }

    fn is_kept_for(&self, borrower: Borrower) -> bool {
        matches!(self, Self::Vacant { slot, .. } if *slot == borrower.slot)
    }
}

fn socket_id(index: usize) -> SocketId {
    SocketId(u32::try_from(index).unwrap_or(u32::MAX))
}

fn index(socket: SocketId) -> usize {
    usize::try_from(socket.0).unwrap_or(usize::MAX)
}
