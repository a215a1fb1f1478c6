//! The app's listening sockets. All are made here, none is closed while the listener is open:
//! a worker only borrows.
//!
//! A listener is an address. Each has a SO_REUSEPORT group of *slot sockets*; the kernel knows
//! them by their index, which is the order in which they began to listen. Closing one would move
//! the last into its place, so none is closed before all are. A steering program on the group
//! says which indices get new connections (`sys::reuseport`).
//!
//! Unix sockets, and every address under `balance = shared`, have one socket for all workers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use config::spec::{Balance, ListenAddress, ListenSpec};

use super::deal::{BUCKETS, deal};
use crate::limits::{BACKLOG, LEAST_BACKLOG};
use crate::primary::action::Target;
use crate::primary::event::OpenedListener;
use crate::primary::ids::{ListenerId, SocketId};
use crate::sys::ebpf::RoundRobin;
use crate::sys::trap::Trap;
use crate::sys::{reuseport, socket, steering_code};

/// What a listener is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    /// An address, and for IPv6 whether it leaves IPv4 out.
    Tcp(SocketAddr, bool),
    Unix(PathBuf),
}

/// One address and its sockets.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) id: ListenerId,
    key: Key,
    pub(crate) name: Option<String>,
    pub(crate) shared: bool,
    sockets: BTreeMap<SocketId, SlotSocket>,
    /// A socket that holds the address already, for whoever asks for a new one first.
    prepared: Option<OwnedFd>,
    /// Kernel index → socket.
    group: Vec<SocketId>,
    seed: u64,
    pub(crate) targets: Vec<Target>,
    balance: Balance,
    /// Round-robin's counter and counts, where the kernel lets us have them.
    round_robin: Option<RoundRobin>,
    /// Once gated, where filters are not allowed.
    trap: Option<Trap>,
    /// Why it does not, where it was asked for.
    pub(crate) no_round_robin: Option<String>,
}

/// One slot socket.
#[derive(Debug)]
struct SlotSocket {
    fd: OwnedFd,
    inode: u64,
    /// Its place in the group, once it listens.
    index: Option<u32>,
}

/// All listeners of the app.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    open: BTreeMap<ListenerId, Listener>,
    next: u32,
}

impl Listeners {
    /// The listener of that id, while it is open.
    pub(crate) fn get(&self, id: ListenerId) -> Option<&Listener> {
        self.open.get(&id)
    }

    /// As `get`.
    pub(crate) fn get_mut(&mut self, id: ListenerId) -> Option<&mut Listener> {
        self.open.get_mut(&id)
    }

    /// All, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.open.values()
    }

    /// The listener that serves exactly this.
    pub(crate) fn find(&self, key: &Key) -> Option<&Listener> {
        self.open.values().find(|listener| listener.key == *key)
    }

    /// Opens a TCP address that a worker asked for. It holds the address from now on and does not
    /// listen yet.
    pub(crate) fn open_tcp(
        &mut self,
        address: SocketAddr,
        v6only: Option<bool>,
        balance: Balance,
    ) -> io::Result<&Listener> {
        let shared = balance == Balance::Shared;
        let fd = socket::first_tcp(address, v6only)?;
        Ok(self.insert(Key::Tcp(address, v6only.unwrap_or(false)), None, shared, balance, fd))
    }

    /// Opens a configured address. A shared one listens at once.
    pub(crate) fn open_configured(
        &mut self,
        spec: &ListenSpec,
        balance: Balance,
    ) -> io::Result<&Listener> {
        let name = Some(spec.name.clone());
        match &spec.address {
            ListenAddress::Tcp(address) => {
                let shared = balance == Balance::Shared;
                let v6only = address.is_ipv6().then_some(false);
                let fd = socket::first_tcp(*address, v6only)?;
                if shared {
                    socket::listen(fd.as_fd(), BACKLOG)?;
                }
                Ok(self.insert(Key::Tcp(*address, false), name, shared, balance, fd))
            }
            ListenAddress::Unix(path) => {
                let fd = socket::unix_listener(path, 0o666)?;
                Ok(self.insert(Key::Unix(path.clone()), name, true, balance, fd))
            }
        }
    }

    fn insert(
        &mut self,
        key: Key,
        name: Option<String>,
        shared: bool,
        balance: Balance,
        fd: OwnedFd,
    ) -> &Listener {
        let id = ListenerId(self.next);
        self.next += 1;
        let (round_robin, no_round_robin) = match balance {
            Balance::RoundRobin if !shared => match RoundRobin::new() {
                Ok(state) => (Some(state), None),
                Err(error) => (None, Some(error.to_string())),
            },
            _ => (None, None),
        };
        let listener = Listener {
            id,
            key,
            name,
            shared,
            sockets: BTreeMap::new(),
            prepared: Some(fd),
            group: Vec::new(),
            seed: crate::sys::random::number(),
            targets: Vec::new(),
            balance,
            round_robin,
            trap: None,
            no_round_robin,
        };
        self.open.entry(id).or_insert(listener)
    }

    /// Closes a listener, all its sockets and its socket file.
    pub(crate) fn close(&mut self, id: ListenerId) -> Option<Listener> {
        let listener = self.open.remove(&id)?;
        if let Key::Unix(path) = &listener.key {
            // Somebody may have removed it before us; there is nothing more to do then.
            let _ = std::fs::remove_file(path);
        }
        Some(listener)
    }

    /// How many connections a socket was given since it exists; 0 where nobody counts.
    pub(crate) fn given(&self, (listener, socket): (ListenerId, SocketId)) -> u64 {
        self.get(listener).and_then(|open| open.given(socket)).unwrap_or_default()
    }

    /// The TCP ports of all, each once.
    pub(crate) fn ports(&self) -> Vec<u16> {
        let ports: BTreeSet<u16> = self.open.values().filter_map(Listener::port).collect();
        ports.into_iter().collect()
    }

    /// Which socket of which listener an inode is.
    pub(crate) fn by_inode(&self, inode: u64) -> Option<(ListenerId, SocketId)> {
        self.open.values().find_map(|listener| {
            let (socket, _) = listener.sockets.iter().find(|(_, s)| s.inode == inode)?;
            Some((listener.id, *socket))
        })
    }
}

impl Listener {
    /// As people write it.
    pub(crate) fn address(&self) -> String {
        match &self.key {
            Key::Tcp(address, _) => address.to_string(),
            Key::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// Its TCP port.
    pub(crate) fn port(&self) -> Option<u16> {
        match &self.key {
            Key::Tcp(address, _) => Some(address.port()),
            Key::Unix(_) => None,
        }
    }

    /// For the core.
    pub(crate) fn opened(&self) -> OpenedListener {
        OpenedListener {
            id: self.id,
            address: self.address(),
            name: self.name.clone(),
            shared: self.shared,
        }
    }

    /// How many sockets it has.
    pub(crate) fn socket_count(&self) -> usize {
        self.sockets.len()
    }

    /// The socket of that id; made if it does not exist yet.
    pub(crate) fn socket(&mut self, id: SocketId) -> io::Result<BorrowedFd<'_>> {
        if !self.sockets.contains_key(&id) {
            let fd = match (self.prepared.take(), &self.key) {
                (Some(fd), _) => fd,
                (None, Key::Tcp(address, v6only)) => {
                    socket::further_tcp(*address, address.is_ipv6().then_some(*v6only))?
                }
                (None, Key::Unix(path)) => {
                    return Err(io::Error::other(format!("{} has one socket", path.display())));
                }
            };
            let inode = socket::inode(fd.as_fd())?;
            self.sockets.insert(id, SlotSocket { fd, inode, index: None });
        }
        let socket = self.sockets.get(&id).map(|socket| socket.fd.as_fd());
        socket.ok_or_else(|| io::Error::other("the socket has just been made"))
    }

    /// The socket of that id, if it has been made.
    pub(crate) fn existing(&self, id: SocketId) -> Option<BorrowedFd<'_>> {
        self.sockets.get(&id).map(|socket| socket.fd.as_fd())
    }

    /// The socket's inode, once it exists.
    pub(crate) fn inode(&self, id: SocketId) -> Option<u64> {
        self.sockets.get(&id).map(|socket| socket.inode)
    }

    /// Makes a socket listen and join the group; one that listens already gets the new backlog.
    pub(crate) fn listen(&mut self, id: SocketId, backlog: i32) -> io::Result<()> {
        self.socket(id)?;
        let next_index = u32::try_from(self.group.len()).unwrap_or(u32::MAX);
        let Some(socket) = self.sockets.get_mut(&id) else { return Ok(()) };
        socket::listen(socket.fd.as_fd(), backlog.max(LEAST_BACKLOG))?;
        if socket.index.is_some() {
            return Ok(());
        }
        socket.index = Some(next_index);
        self.group.push(id);
        if next_index > 0 || self.shared {
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
        let indices: Vec<u32> =
            self.targets.iter().filter_map(|target| self.index(target.socket)).collect();
        let Some(any) = self.group.first().and_then(|id| self.sockets.get(id)) else {
            return Ok(());
        };
        if indices.is_empty() {
            return Ok(());
        }
        if let Some(state) = &self.round_robin {
            return state.attach(any.fd.as_fd(), &indices);
        }
        let program = match self.balance {
            Balance::Sticky => {
                let buckets = self.buckets();
                let seed = u32::try_from(self.seed >> 32).unwrap_or_default();
                steering_code::compile(steering_code::Steering::BySource { seed, buckets: &buckets })
            }
            Balance::RoundRobin | Balance::LeastConnections | Balance::Hash | Balance::Shared => {
                steering_code::compile(steering_code::Steering::Even(&indices))
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
        let table = deal(self.seed, &slots);
        std::array::from_fn(|bucket| {
            let indices = by_slot.get(&table[bucket]).map_or(&[][..], Vec::as_slice);
            indices.get(bucket % indices.len().max(1)).copied().unwrap_or_default()
        })
    }

    fn index(&self, id: SocketId) -> Option<u32> {
        self.sockets.get(&id).and_then(|socket| socket.index)
    }

    /// How many connections a socket was given since it exists, where somebody counts.
    pub(crate) fn given(&self, id: SocketId) -> Option<u64> {
        self.round_robin.as_ref()?.given(self.index(id)?)
    }

    /// Drops new connections from now on; those it has stay. By a socket filter, or where that
    /// needs a privilege we lack, by one more member of the group that takes nobody in.
    pub(crate) fn gate(&mut self) -> io::Result<()> {
        let Some(first) = self.group.first().and_then(|id| self.sockets.get(id)) else {
            return Ok(());
        };
        let gated = self.listening().try_for_each(|socket| socket::gate(socket.fd.as_fd()));
        match gated {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !self.shared => {
                let index = u32::try_from(self.group.len()).unwrap_or(u32::MAX);
                self.trap = Some(Trap::set(first.fd.as_fd(), index)?);
                Ok(())
            }
            result => result,
        }
    }

    /// Connections that wait in one socket's accept queue.
    pub(crate) fn queued(&self, id: SocketId) -> u32 {
        let Some(socket) = self.sockets.get(&id) else { return 0 };
        if socket.index.is_none() || matches!(self.key, Key::Unix(_)) {
            return 0;
        }
        socket::accept_queue(socket.fd.as_fd()).map_or(0, |queue| queue.waiting)
    }

    /// Connections that wait in all its accept queues.
    pub(crate) fn backlog(&self) -> u32 {
        self.group.iter().map(|id| self.queued(*id)).sum()
    }

    fn listening(&self) -> impl Iterator<Item = &SlotSocket> {
        self.sockets.values().filter(|socket| socket.index.is_some())
    }
}
