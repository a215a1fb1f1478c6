//! One address the app serves on, and its sockets.
//!
//! There are three kinds. *Slots*: a SO_REUSEPORT group of slot sockets, one for each worker,
//! and a steering program which says which of them get new connections. *Shared*: one socket that
//! all workers accept from (unix and UDP sockets, `balance = shared`). *Hand-over*: one socket that
//! the primary accepts from; what the core calls sockets are then only places to send connections.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use config::spec::Balance;
use serde_json::Value;

use super::group::Group;
use super::key::Key;
use crate::base::ids::{ListenerId, SocketId};
use crate::limits::LEAST_BACKLOG;
use crate::primary::action::Target;
use crate::primary::event::OpenedListener;
use crate::runtime::handover::rendezvous::{BUCKETS, assign};
use crate::sys::ebpf::RoundRobin;
use crate::sys::probe_rules::ProbeRule;
use crate::sys::trap::Trap;
use crate::sys::{reuseport, socket, steering_code};

/// How its connections come to the workers.
#[derive(Debug)]
pub(crate) enum Kind {
    Slots,
    Shared,
    HandOver(HandOver),
}

/// The state of a hand-over listener.
#[derive(Debug, Default)]
pub(crate) struct HandOver {
    /// Accepted, and nobody could take them yet.
    pub(crate) waiting: VecDeque<(OwnedFd, SocketAddr)>,
    /// Whose turn it is.
    pub(crate) turn: u64,
    /// Connections that the workers of each slot took.
    pub(crate) given: BTreeMap<u16, u64>,
    /// Whether the poller watches the listening socket.
    pub(crate) watched: bool,
}

/// One address and its sockets.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) id: ListenerId,
    pub(in crate::runtime) key: Key,
    pub(crate) name: Option<String>,
    pub(crate) kind: Kind,
    pub(in crate::runtime) sockets: BTreeMap<SocketId, SlotSocket>,
    /// A socket that holds the address already: the first slot socket until somebody asks for it,
    /// or the only one of a hand-over listener.
    pub(in crate::runtime) prepared: Option<OwnedFd>,
    pub(in crate::runtime) group: Group,
    pub(crate) seed: u64,
    pub(crate) targets: Vec<Target>,
    pub(crate) balance: Balance,
    /// Round-robin's counter and counts, where the kernel lets us have them.
    pub(in crate::runtime) round_robin: Option<RoundRobin>,
    /// Why it does not, where it was asked for.
    pub(crate) no_round_robin: Option<String>,
    /// The connections of probes that are under way, by their source.
    pub(in crate::runtime) probes: BTreeMap<SocketAddr, SocketId>,
    /// Its sockets drop new connections.
    pub(in crate::runtime) gated: bool,
    /// Once gated, where filters are not allowed.
    pub(in crate::runtime) trap: Option<Trap>,
    /// What the first Node worker said of its server; Node gives it to all (TLS ticket keys).
    pub(crate) node_data: Option<Value>,
}

/// One slot socket.
#[derive(Debug)]
pub(in crate::runtime) struct SlotSocket {
    pub(in crate::runtime) fd: OwnedFd,
    pub(in crate::runtime) inode: u64,
    /// It does, and has its place in the group.
    pub(in crate::runtime) listens: bool,
    /// It has been a target since it was lent last: handshakes that began then may end in it.
    pub(in crate::runtime) was_target: bool,
    /// The socket whose place it takes, and which listens until it does itself.
    pub(in crate::runtime) replaces: Option<OwnedFd>,
}

impl SlotSocket {
    /// One that does not listen yet.
    pub(in crate::runtime) fn new(fd: OwnedFd) -> io::Result<Self> {
        let inode = socket::inode(fd.as_fd())?;
        Ok(Self { fd, inode, listens: false, was_target: false, replaces: None })
    }
}

impl Listener {
    /// Takes an address over that `fd` holds.
    pub(in crate::runtime) fn new(
        id: ListenerId,
        key: Key,
        name: Option<String>,
        kind: Kind,
        balance: Balance,
        fd: OwnedFd,
    ) -> Self {
        let (round_robin, no_round_robin) = match (balance, &kind) {
            (Balance::RoundRobin, Kind::Slots) => match RoundRobin::new() {
                Ok(state) => (Some(state), None),
                Err(error) => (None, Some(error.to_string())),
            },
            _ => (None, None),
        };
        Self {
            id,
            key,
            name,
            kind,
            sockets: BTreeMap::new(),
            prepared: Some(fd),
            group: Group::default(),
            seed: crate::sys::random::number(),
            targets: Vec::new(),
            balance,
            round_robin,
            no_round_robin,
            probes: BTreeMap::new(),
            gated: false,
            trap: None,
            node_data: None,
        }
    }

    /// As people write it.
    pub(crate) fn address(&self) -> String {
        match &self.key {
            Key::Tcp(address, _) => address.to_string(),
            Key::Udp(address, _) => format!("udp:{address}"),
            Key::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// Its TCP port.
    pub(crate) fn port(&self) -> Option<u16> {
        match &self.key {
            Key::Tcp(address, _) => Some(address.port()),
            Key::Udp(..) | Key::Unix(_) => None,
        }
    }

    /// Its path, if it is a unix socket.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.key {
            Key::Unix(path) => Some(path),
            Key::Tcp(..) | Key::Udp(..) => None,
        }
    }

    /// For the core.
    pub(crate) fn opened(&self) -> OpenedListener {
        OpenedListener {
            id: self.id,
            address: self.address(),
            name: self.name.clone(),
            shared: self.is_shared(),
        }
    }

    /// One socket for all workers, which nobody can be steered away from.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.kind, Kind::Shared)
    }

    /// Its real address, where it is a TCP one.
    pub(crate) fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.key {
            Key::Tcp(address, _) => Some(*address),
            Key::Udp(..) | Key::Unix(_) => None,
        }
    }

    /// Whether a socket holds its address that nobody has asked for yet.
    pub(crate) fn is_held(&self) -> bool {
        self.prepared.is_some()
    }

    /// Whether a worker bound its address, and none has listened there.
    pub(crate) fn is_only_bound(&self) -> bool {
        self.is_held() && self.name.is_none() && matches!(self.kind, Kind::Slots)
    }

    /// How many sockets it has.
    pub(crate) fn socket_count(&self) -> usize {
        self.sockets.len().max(usize::from(self.hand_over().is_some()))
    }

    /// Its state, if it is a hand-over listener.
    pub(crate) fn hand_over(&self) -> Option<&HandOver> {
        match &self.kind {
            Kind::HandOver(state) => Some(state),
            Kind::Slots | Kind::Shared => None,
        }
    }

    /// As `hand_over`.
    pub(crate) fn hand_over_mut(&mut self) -> Option<&mut HandOver> {
        match &mut self.kind {
            Kind::HandOver(state) => Some(state),
            Kind::Slots | Kind::Shared => None,
        }
    }

    /// The socket that the primary accepts from.
    pub(crate) fn accepting(&self) -> Option<BorrowedFd<'_>> {
        self.hand_over().and(self.prepared.as_ref()).map(AsFd::as_fd)
    }

    /// The socket of that id; made if it does not exist yet.
    pub(crate) fn socket(&mut self, id: SocketId) -> io::Result<BorrowedFd<'_>> {
        if !self.sockets.contains_key(&id) {
            let fd = match (self.prepared.take(), &self.key) {
                (Some(fd), _) => fd,
                (None, Key::Tcp(address, v6only)) => {
                    socket::further_tcp(*address, address.is_ipv6().then_some(*v6only))?
                }
                (None, Key::Udp(..) | Key::Unix(_)) => {
                    return Err(io::Error::other(format!("{} has one socket", self.address())));
                }
            };
            self.sockets.insert(id, SlotSocket::new(fd)?);
        }
        let socket = self.sockets.get(&id).map(|socket| socket.fd.as_fd());
        socket.ok_or_else(|| io::Error::other("the socket has just been made"))
    }

    /// The socket of that id, if it has been made.
    pub(crate) fn existing(&self, id: SocketId) -> Option<BorrowedFd<'_>> {
        self.sockets.get(&id).map(|socket| socket.fd.as_fd())
    }

    /// Which of its sockets an inode is.
    pub(crate) fn by_inode(&self, inode: u64) -> Option<SocketId> {
        self.sockets.iter().find(|(_, socket)| socket.inode == inode).map(|(id, _)| *id)
    }

    /// The socket's inode, once it exists.
    pub(crate) fn inode(&self, id: SocketId) -> Option<u64> {
        self.sockets.get(&id).map(|socket| socket.inode)
    }

    /// Gives a socket its place in the group, which it will have once it listens. To be followed by
    /// `listen`, with nothing in between but writing that down. Whether it is news.
    pub(crate) fn announce(&mut self, id: SocketId) -> io::Result<bool> {
        self.socket(id)?;
        Ok(self.group.join(id))
    }

    /// Makes a socket listen and join the group; one that listens already gets the new backlog.
    pub(crate) fn listen(&mut self, id: SocketId, backlog: i32) -> io::Result<()> {
        self.announce(id)?;
        let shared = self.is_shared();
        let Some(socket) = self.sockets.get_mut(&id) else { return Ok(()) };
        if let Err(error) = socket::listen(socket.fd.as_fd(), backlog.max(LEAST_BACKLOG)) {
            if let Some(replaced) = socket.replaces.take() {
                *socket = SlotSocket { listens: true, ..SlotSocket::new(replaced)? };
            } else if !socket.listens {
                self.group.leave(id);
            }
            return Err(error);
        }
        if let Some(replaced) = socket.replaces.take() {
            socket.listens = true;
            return socket::stop_listening(replaced.as_fd());
        }
        if matches!(self.kind, Kind::Slots) {
            // Its address is held by a socket that listens from now on.
            self.prepared = None;
        }
        let is_first = self.group.index(id) == Some(0);
        if std::mem::replace(&mut socket.listens, true) || !is_first || shared {
            return Ok(());
        }
        // While it is alone there is nothing to steer; but whatever joins later must get nothing
        // before it is steered to. The program can only be attached to a listening socket: on
        // another it would make a group of its own, which could not join this one.
        let program = steering_code::compile(steering_code::Steering::Even(&[0]));
        reuseport::attach(socket.fd.as_fd(), &program)
    }

    /// From now on new connections go to these sockets only.
    pub(crate) fn steer(&mut self, targets: Vec<Target>) -> io::Result<()> {
        self.targets = targets;
        for target in &self.targets {
            if let Some(socket) = self.sockets.get_mut(&target.socket) {
                socket.was_target = true;
            }
        }
        self.attach()
    }

    /// From now on this connection goes to this socket. The client stays bound until `end_probe`.
    pub(crate) fn begin_probe(&mut self, source: SocketAddr, to: SocketId) -> io::Result<()> {
        self.probes.insert(source, to);
        self.attach()
    }

    /// The connection from there has reached its socket, or is no longer wanted.
    pub(crate) fn end_probe(&mut self, source: SocketAddr) -> io::Result<()> {
        self.probes.remove(&source);
        self.attach()
    }

    /// Whether this socket is in a group that is steered, so that a probe can be led to it.
    pub(crate) fn is_steered_with(&self, id: SocketId) -> bool {
        let is_target = |target: &Target| self.index(target.socket).is_some();
        self.index(id).is_some() && !self.gated && self.targets.iter().any(is_target)
    }

    /// Where the connection of a probe goes. `None`: it is a client's.
    pub(crate) fn probed(&self, peer: SocketAddr) -> Option<SocketId> {
        self.probes.get(&peer).copied()
    }

    /// Puts the steering and the rules of the probes into the kernel.
    fn attach(&self) -> io::Result<()> {
        let rules: Vec<ProbeRule> = self
            .probes
            .iter()
            .filter_map(|(source, to)| Some(ProbeRule { source: *source, index: self.index(*to)? }))
            .collect();
        let indices: Vec<u32> =
            self.targets.iter().filter_map(|target| self.index(target.socket)).collect();
        let Some(any) = self.group.order().first().and_then(|id| self.sockets.get(id)) else {
            return Ok(());
        };
        if indices.is_empty() {
            return Ok(());
        }
        if let Some(state) = &self.round_robin {
            return state.attach(any.fd.as_fd(), &indices, &rules);
        }
        let program = match self.balance {
            Balance::Sticky => {
                let buckets = self.buckets();
                let seed = u32::try_from(self.seed >> 32).unwrap_or_default();
                let steering = steering_code::Steering::BySource { seed, buckets: &buckets };
                steering_code::compile_with(steering, &rules)
            }
            Balance::RoundRobin | Balance::LeastConnections | Balance::Hash | Balance::Shared => {
                steering_code::compile_with(steering_code::Steering::Even(&indices), &rules)
            }
        };
        reuseport::attach(any.fd.as_fd(), &program)
    }

    /// Sticky's buckets as kernel indices. A slot with several sockets spreads its own over them.
    fn buckets(&self) -> [u32; BUCKETS] {
        let mut by_slot: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
        for target in &self.targets {
            if let Some(index) = self.index(target.socket) {
                by_slot.entry(target.slot.0).or_default().push(index);
            }
        }
        let slots: Vec<u16> = by_slot.keys().copied().collect();
        let table = assign(self.seed, &slots);
        std::array::from_fn(|bucket| {
            let indices = by_slot.get(&table[bucket]).map_or(&[][..], Vec::as_slice);
            indices.get(bucket % indices.len().max(1)).copied().unwrap_or_default()
        })
    }

    fn index(&self, id: SocketId) -> Option<u32> {
        self.group.index(id)
    }

    /// How many connections a socket was given since it exists, where somebody counts.
    pub(crate) fn given(&self, id: SocketId) -> Option<u64> {
        match self.index(id) {
            // It has never listened, maybe none of the group has: then the kernel counts nothing.
            None if matches!(self.kind, Kind::Slots) => Some(0),
            None => self.round_robin.as_ref().map(|_| 0),
            Some(index) => self.round_robin.as_ref()?.given(index),
        }
    }

    /// Drops new connections from now on; those it has stay. By a socket filter, or where that
    /// needs a privilege we lack, by one more member of the group that takes nobody in.
    pub(crate) fn gate(&mut self) -> io::Result<()> {
        let shared = self.is_shared();
        let Some(first) = self.group.order().first().and_then(|id| self.sockets.get(id)) else {
            return Ok(());
        };
        let gated = self.listening().try_for_each(|socket| socket::gate(socket.fd.as_fd()));
        self.gated = gated.is_ok();
        match gated {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !shared => {
                self.trap = Some(Trap::set(first.fd.as_fd(), self.group.next_index())?);
                Ok(())
            }
            result => result,
        }
    }

    /// Whether new connections are steered to this socket.
    pub(crate) fn is_target(&self, id: SocketId) -> bool {
        self.targets.iter().any(|target| target.socket == id)
    }

    /// Connections that wait in one socket's accept queue.
    pub(crate) fn queued(&self, id: SocketId) -> u32 {
        let Some(socket) = self.sockets.get(&id) else { return 0 };
        if self.index(id).is_none() || self.port().is_none() {
            return 0;
        }
        socket::accept_queue(socket.fd.as_fd()).map_or(0, |queue| queue.waiting)
    }

    /// Connections that wait in all its accept queues.
    pub(crate) fn backlog(&self) -> u32 {
        if let (Some(state), Some(fd)) = (self.hand_over(), self.accepting()) {
            let accepted = u32::try_from(state.waiting.len()).unwrap_or(u32::MAX);
            return accepted + socket::accept_queue(fd).map_or(0, |queue| queue.waiting);
        }
        self.group.order().iter().map(|id| self.queued(*id)).sum()
    }

    /// Its listening sockets: place in the group, inode, descriptor. None of a UDP one.
    pub(crate) fn listening_now(&self) -> Vec<(u32, u64, BorrowedFd<'_>)> {
        if let Some(fd) = self.accepting() {
            return socket::inode(fd).ok().map(|inode| (0, inode, fd)).into_iter().collect();
        }
        let streams = matches!(self.key, Key::Tcp(..) | Key::Unix(_));
        let all = self
            .sockets
            .iter()
            .filter(|(_, socket)| streams && (socket.listens || self.is_shared()));
        all.map(|(id, socket)| (self.index(*id).unwrap_or(0), socket.inode, socket.fd.as_fd()))
            .collect()
    }

    /// The first of these is its first socket already; they all listen, in this order.
    pub(in crate::runtime) fn adopt_group(&mut self, others: Vec<OwnedFd>) -> io::Result<()> {
        for (id, fd) in (1..).map(SocketId).zip(others) {
            self.sockets.insert(id, SlotSocket { listens: true, ..SlotSocket::new(fd)? });
            self.announce(id)?;
        }
        Ok(())
    }

    fn listening(&self) -> impl Iterator<Item = &SlotSocket> {
        self.sockets.values().filter(|socket| socket.listens)
    }
}
