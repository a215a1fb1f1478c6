//! The listeners and their sockets, snapshot.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;

use config::spec::Balance;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::ids::{ListenerId, SocketId};
use crate::primary::action::Target;
use crate::runtime::listeners::group::Group;
use crate::runtime::listeners::listener::{HandOver, Kind, Listener, SlotSocket};
use crate::runtime::listeners::{Key, Listeners};
use crate::runtime::service_manager::activation::ActivationSnapshot;
use crate::sys::ebpf::RoundRobin;
use crate::sys::held::{Claims, Held};
use crate::sys::trap::Trap;

/// See the module.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ListenersSnapshot {
    next: u32,
    open: Vec<ListenerSnapshot>,
    lent: ActivationSnapshot,
}

#[derive(Debug, Serialize, Deserialize)]
struct ListenerSnapshot {
    id: ListenerId,
    key: KeySnapshot,
    name: Option<String>,
    kind: KindSnapshot,
    sockets: Vec<SocketSnapshot>,
    prepared: Option<Held>,
    group: Vec<SocketId>,
    seed: u64,
    targets: Vec<Target>,
    balance: Balance,
    round_robin: Option<[Held; 2]>,
    no_round_robin: Option<String>,
    #[serde(default)]
    gated: bool,
    trap: Option<[Held; 2]>,
    node_data: Option<Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SocketSnapshot {
    id: SocketId,
    fd: Held,
    inode: u64,
    index: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaces: Option<Held>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KeySnapshot {
    Tcp(SocketAddr, bool),
    Udp(SocketAddr, bool),
    Unix(PathBuf),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KindSnapshot {
    Slots,
    Shared,
    HandOver { turn: u64, given: BTreeMap<u16, u64> },
}

impl ListenersSnapshot {
    pub(super) fn of(listeners: &Listeners) -> Self {
        Self {
            next: listeners.next,
            open: listeners.iter().map(ListenerSnapshot::of).collect(),
            lent: listeners.lent.snapshot(),
        }
    }

    /// The listeners again, and what could not be found of them.
    pub(super) fn restore(self, claims: &mut Claims) -> (Listeners, Vec<String>) {
        let mut complaints = Vec::new();
        let mut open = BTreeMap::new();
        for snapshot in self.open {
            let (id, listener) = (snapshot.id, snapshot.restore(claims));
            if listener.accepting().is_none() && listener.socket_count() == 0 && !listener.is_held()
            {
                complaints.push(format!("the socket of {} is gone", listener.address()));
            }
            open.insert(id, listener);
        }
        (Listeners { open, next: self.next, lent: self.lent.restore(claims) }, complaints)
    }
}

impl ListenerSnapshot {
    fn of(listener: &Listener) -> Self {
        let socket = |(id, socket): (&SocketId, &SlotSocket)| SocketSnapshot {
            id: *id,
            fd: Held::of(socket.fd.as_fd()),
            inode: socket.inode,
            index: listener.group.index(*id),
            replaces: socket.replaces.as_ref().map(|fd| Held::of(fd.as_fd())),
        };
        let pair = |fds: [std::os::fd::BorrowedFd<'_>; 2]| fds.map(Held::of);
        Self {
            id: listener.id,
            key: match &listener.key {
                Key::Tcp(address, v6only) => KeySnapshot::Tcp(*address, *v6only),
                Key::Udp(address, v6only) => KeySnapshot::Udp(*address, *v6only),
                Key::Unix(path) => KeySnapshot::Unix(path.clone()),
            },
            name: listener.name.clone(),
            kind: match &listener.kind {
                Kind::Slots => KindSnapshot::Slots,
                Kind::Shared => KindSnapshot::Shared,
                Kind::HandOver(state) => {
                    KindSnapshot::HandOver { turn: state.turn, given: state.given.clone() }
                }
            },
            sockets: listener.sockets.iter().map(socket).collect(),
            prepared: listener.prepared.as_ref().map(|fd| Held::of(fd.as_fd())),
            group: listener.group.order().to_vec(),
            seed: listener.seed,
            targets: listener.targets.clone(),
            balance: listener.balance,
            round_robin: listener.round_robin.as_ref().map(|state| pair(state.fds())),
            no_round_robin: listener.no_round_robin.clone(),
            gated: listener.gated,
            trap: listener.trap.as_ref().map(|trap| pair(trap.fds())),
            node_data: listener.node_data.clone(),
        }
    }

    fn restore(self, claims: &mut Claims) -> Listener {
        let mut pair = |held: Option<[Held; 2]>| -> Option<[_; 2]> {
            let [first, second] = held?;
            Some([claims.claim(first).ok()?, claims.claim(second).ok()?])
        };
        let round_robin = pair(self.round_robin).map(RoundRobin::from_fds);
        let trap = pair(self.trap).map(Trap::from_fds);
        let mut sockets = BTreeMap::new();
        for SocketSnapshot { id, fd, inode, index, replaces } in self.sockets {
            let replaces = replaces.and_then(|held| claims.claim(held).ok());
            let Ok(fd) = claims.claim(fd) else { continue };
            let (listens, was_target) = (index.is_some(), true);
            let socket = SlotSocket { fd, inode, listens, was_target, replaces };
            if let Ok(socket) = socket.settle() {
                sockets.insert(id, socket);
            }
        }
        Listener {
            id: self.id,
            key: match self.key {
                KeySnapshot::Tcp(address, v6only) => Key::Tcp(address, v6only),
                KeySnapshot::Udp(address, v6only) => Key::Udp(address, v6only),
                KeySnapshot::Unix(path) => Key::Unix(path),
            },
            name: self.name,
            kind: match self.kind {
                KindSnapshot::Slots => Kind::Slots,
                KindSnapshot::Shared => Kind::Shared,
                KindSnapshot::HandOver { turn, given } => {
                    Kind::HandOver(HandOver { turn, given, ..HandOver::default() })
                }
            },
            sockets,
            prepared: self.prepared.and_then(|held| claims.claim(held).ok()),
            group: Group::of(self.group),
            seed: self.seed,
            targets: self.targets,
            balance: self.balance,
            round_robin,
            no_round_robin: self.no_round_robin,
            probes: BTreeMap::new(),
            gated: self.gated,
            trap,
            node_data: self.node_data,
        }
    }
}
