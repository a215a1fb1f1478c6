//! The listeners and their sockets: which worker borrows which, and which are kept for a slot.
//!
//! A socket is never closed while its listener is open. It is lent to one worker at a time. When
//! that worker is gone, the socket is free for any worker. But if connections may be waiting in it,
//! it is kept for the slot.
//!
//! A shared listener has one socket for all workers; its borrowers are not counted here.

pub(super) mod steering;

use std::collections::{BTreeMap, BTreeSet};

use config::spec::AddressPattern;
use serde::{Deserialize, Serialize};

use super::action::Target;
use super::event::OpenedListener;
use crate::base::ids::{Generation, ListenerId, Slot, SocketId, WorkerId};
use crate::primary::plan::Plan;

/// Every open listener.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Sockets {
    listeners: BTreeMap<ListenerId, Listener>,
    /// The listeners that were closed in this turn.
    closed: BTreeSet<ListenerId>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Listener {
    pub(super) opened: OpenedListener,
    /// The generation for which the listener was first opened.
    first: Option<Generation>,
    /// A worker has listened there.
    #[serde(default)]
    listens: bool,
    /// The sockets, by [`SocketId`].
    sockets: Vec<Socket>,
    /// The targets of new connections. Empty: the core has not steered it yet.
    pub(super) steered: Vec<Target>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Socket {
    pub(super) hold: Hold,
    /// A worker has listened on it, so connections can wait in it.
    pub(super) open: bool,
    /// It has received new connections since it was last known to be empty.
    pub(super) used: bool,
}

/// The holder of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Hold {
    Free,
    /// Lent to a worker. `listening`: the worker listens on it.
    Lent {
        worker: WorkerId,
        slot: Slot,
        listening: bool,
    },
    /// The worker is gone. Connections may wait in the socket for the slot's next worker; `queued`
    /// were seen.
    Vacant {
        slot: Slot,
        queued: u32,
    },
}

/// The worker that asks for a socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Borrower {
    pub(super) worker: WorkerId,
    pub(super) slot: Slot,
    /// It serves its slot, or is about to: it gets what is kept for the slot.
    pub(super) inherits: bool,
}

impl Sockets {
    /// Adds a listener. Returns whether it was new.
    pub(super) fn open(&mut self, opened: OpenedListener, by: Option<Generation>) -> bool {
        if let Some(known) = self.listeners.get_mut(&opened.id) {
            known.opened = opened;
            return false;
        }
        let (sockets, steered) = (Vec::new(), Vec::new());
        let listener = Listener { opened, first: by, listens: false, sockets, steered };
        self.listeners.insert(listener.opened.id, listener);
        true
    }

    /// Forgets a listener. Returns whether it was there.
    pub(super) fn close(&mut self, listener: ListenerId) -> bool {
        let known = self.listeners.remove(&listener).is_some();
        if known {
            self.closed.insert(listener);
        }
        known
    }

    /// Begins the next turn.
    pub(super) fn begin_turn(&mut self) {
        self.closed.clear();
    }

    pub(super) fn has_just_closed(&self, listener: ListenerId) -> bool {
        self.closed.contains(&listener)
    }

    pub(super) fn knows(&self, listener: ListenerId) -> bool {
        self.listeners.contains_key(&listener)
    }

    /// The socket of a listener that a worker borrows.
    pub(super) fn lent(&self, listener: ListenerId, to: WorkerId) -> Option<SocketId> {
        let listener = self.listeners.get(&listener)?;
        if listener.opened.shared {
            return Some(SocketId(0));
        }
        let is_its =
            |socket: &Socket| matches!(socket.hold, Hold::Lent { worker, .. } if worker == to);
        listener.sockets.iter().position(is_its).map(socket_id)
    }

    /// Chooses a socket and lends it. `None`: there is no such listener, or no longer.
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
        // A program that closes its socket and listens again gets the queue that it had.
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

    /// Whether a socket listens that a worker gets for its `bind`. A slot socket is put in place
    /// when the worker listens; a shared one is, too, but may listen since its first borrower did.
    pub(super) fn is_already_open(&self, listener: ListenerId) -> bool {
        self.listeners.get(&listener).is_some_and(|l| l.opened.shared && l.listens)
    }

    /// A worker listens on the socket that it borrows.
    pub(super) fn listening(&mut self, listener: ListenerId, socket: SocketId, by: WorkerId) {
        let Some(listener) = self.listeners.get_mut(&listener) else { return };
        listener.listens = true;
        let Some(lent) = listener.sockets.get_mut(index(socket)) else { return };
        if let Hold::Lent { worker, listening, .. } = &mut lent.hold
            && *worker == by
        {
            *listening = true;
            lent.open = true;
        }
    }

    /// A live worker has closed the socket that it borrows. It may listen there again.
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

    /// A worker is gone. `queued`: how many connections were seen in its sockets, if anything
    /// looked.
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

    /// The listeners that keep a socket for `slot`, and how many connections were last seen there.
    pub(super) fn kept_for(&self, slot: Slot) -> impl Iterator<Item = (ListenerId, u32)> {
        self.listeners.iter().flat_map(move |(id, listener)| {
            listener.sockets.iter().filter_map(move |socket| match socket.hold {
                Hold::Vacant { slot: kept_for, queued } if kept_for == slot => Some((*id, queued)),
                Hold::Vacant { .. } | Hold::Lent { .. } | Hold::Free => None,
            })
        })
    }

    /// Frees what is kept for `slot`, because no worker will come for it.
    pub(super) fn give_up(&mut self, slot: Slot) {
        for socket in self.listeners.values_mut().flat_map(|listener| &mut listener.sockets) {
            if matches!(socket.hold, Hold::Vacant { slot: kept_for, .. } if kept_for == slot) {
                socket.hold = Hold::Free;
            }
        }
    }

    /// The listeners that the core steers.
    pub(super) fn steerable(&mut self) -> impl Iterator<Item = (ListenerId, &mut Listener)> {
        self.listeners.iter_mut().filter(|(_, l)| !l.opened.shared).map(|(id, l)| (*id, l))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.values()
    }

    pub(super) fn ids(&self) -> Vec<ListenerId> {
        self.listeners.keys().copied().collect()
    }

    /// The listeners that were first opened for this generation.
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

    /// Whether the listener is at this address.
    pub(super) fn is_at(&self, listener: ListenerId, address: AddressPattern) -> bool {
        self.address(listener).parse().is_ok_and(|at| address.matches(at))
    }

    pub(super) fn is_shared(&self, listener: ListenerId) -> bool {
        self.listeners.get(&listener).is_some_and(|l| l.opened.shared)
    }

    /// Whether a configuration added the listener, and this one no longer names it.
    pub(super) fn is_dropped_by(&self, plan: &Plan, listener: ListenerId) -> bool {
        let is_dropped =
            |l: &Listener| l.opened.name.is_some() && !plan.configures(&l.opened.address);
        self.listeners.get(&listener).is_some_and(is_dropped)
    }
}

impl Listener {
    /// Steers new connections to these targets. The earlier targets may hold connections that went
    /// there for want of a better socket; they are kept for a slot that serves now.
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
