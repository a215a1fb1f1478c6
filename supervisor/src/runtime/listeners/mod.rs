//! The app's listening sockets. All are made here, none is closed while the listener is open:
//! a worker only borrows.
//!
//! A listener is an address. Each has a SO_REUSEPORT group of *slot sockets*; the kernel knows
//! them by their index, which is the order in which they began to listen (`group`). Closing one
//! would move the last into its place, so none is closed before all are; one that a program shuts
//! down is replaced by a fresh one (`shut_down`), and a drained one by that of its next borrower
//! (`take_place`). A steering program on the group says which
//! indices get new connections (`sys::reuseport`).
//!
//! Other kinds of listeners stand in `listener`.

pub(super) mod group;
mod key;
pub(super) mod listener;
pub(super) mod refusal;
mod shut_down;
mod take_place;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use config::spec::{AppSpec, Balance, ListenAddress, ListenSpec};

pub(crate) use self::key::Key;
use self::listener::{HandOver, Kind, Listener};
use self::refusal::refusal;
use super::service_manager::activation::{Lent, can_be_joined};
use crate::base::ids::{ListenerId, Place, SocketId};
use crate::limits::{BACKLOG, DESCRIPTORS_PER_LISTENER, LISTENERS};
use crate::primary::event::OpenedListener;
use crate::sys::{daemon, socket};

/// All listeners of the app.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    pub(super) open: BTreeMap<ListenerId, Listener>,
    pub(super) next: u32,
    /// What a service manager opened.
    pub(super) lent: Lent,
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

    /// Opens a TCP address that a worker asked for. It holds the address from now on; with
    /// `hand_over` it listens too, for the primary to accept. Port 0 becomes a real one.
    pub(crate) fn open_tcp(
        &mut self,
        address: SocketAddr,
        v6only: Option<bool>,
        balance: Balance,
        hand_over: bool,
    ) -> io::Result<&Listener> {
        self.has_room()?;
        let key = Key::Tcp(address, v6only.unwrap_or(false));
        if let Some(fd) = self.lent.tcp(address)? {
            return self.adopt(key, address, None, balance, hand_over, fd);
        }
        let mut kept = self.lent.kept(address);
        if !kept.is_empty() {
            let first = kept.remove(0);
            let id = self.adopt(key, address, None, balance, hand_over, first)?.id;
            return self.adopt_others(id, kept);
        }
        let fd = socket::first_tcp(address, v6only)?;
        let address = socket::local_address(fd.as_fd())?;
        let kind = match (hand_over, balance) {
            (true, _) => Kind::HandOver(HandOver::default()),
            (false, Balance::Shared) => Kind::Shared,
            (false, _) => Kind::Slots,
        };
        if hand_over {
            socket::set_nonblocking(fd.as_fd(), true)?;
            socket::listen(fd.as_fd(), BACKLOG)?;
        }
        Ok(self.insert(Key::Tcp(address, v6only.unwrap_or(false)), None, kind, balance, fd))
    }

    /// Opens a UDP address that a worker asked for: one socket, which all read.
    pub(crate) fn open_udp(
        &mut self,
        address: SocketAddr,
        v6only: bool,
        reuse_address: bool,
    ) -> io::Result<&Listener> {
        self.has_room()?;
        let fd = socket::udp(address, v6only, reuse_address)?;
        let address = socket::local_address(fd.as_fd())?;
        Ok(self.insert(Key::Udp(address, v6only), None, Kind::Shared, Balance::Shared, fd))
    }

    /// Opens a unix socket that a worker asked for: one socket, which all accept from.
    pub(crate) fn open_unix(&mut self, path: PathBuf, mode: u32) -> io::Result<&Listener> {
        self.has_room()?;
        let fd = match self.lent.unix(&path)?.or_else(|| self.lent.kept_unix(&path)) {
            Some(fd) => fd,
            None => socket::unix_listener(&path, mode)?,
        };
        Ok(self.insert(Key::Unix(path), None, Kind::Shared, Balance::Shared, fd))
    }

    /// An error: workers have asked for so many addresses that the descriptors run out.
    fn has_room(&self) -> io::Result<()> {
        let most = LISTENERS.min(daemon::nofile() / DESCRIPTORS_PER_LISTENER);
        match self.open.len() < most {
            true => Ok(()),
            false => Err(io::Error::from_raw_os_error(libc::EMFILE)),
        }
    }

    /// Opens a configured address. A shared one listens at once.
    fn open_configured(&mut self, spec: &ListenSpec, balance: Balance) -> io::Result<&Listener> {
        let name = Some(spec.name.clone());
        match &spec.address {
            ListenAddress::Tcp(address) => {
                if let Some(fd) = self.lent.tcp(*address)? {
                    let key = Key::Tcp(*address, false);
                    return self.adopt(key, *address, name, balance, false, fd);
                }
                let mut kept = self.lent.kept(*address);
                if !kept.is_empty() {
                    let (key, first) = (Key::Tcp(*address, false), kept.remove(0));
                    let id = self.adopt(key, *address, name, balance, false, first)?.id;
                    return self.adopt_others(id, kept);
                }
                let v6only = address.is_ipv6().then_some(false);
                let (fd, kind) = match balance {
                    Balance::Shared => (socket::shared_tcp(*address)?, Kind::Shared),
                    _ => (socket::first_tcp(*address, v6only)?, Kind::Slots),
                };
                Ok(self.insert(Key::Tcp(*address, false), name, kind, balance, fd))
            }
            ListenAddress::Unix(path) => {
                let fd = match self.lent.unix(path)?.or_else(|| self.lent.kept_unix(path)) {
                    Some(fd) => fd,
                    None => socket::unix_listener(path, 0o666)?,
                };
                Ok(self.insert(Key::Unix(path.clone()), name, Kind::Shared, balance, fd))
            }
        }
    }

    /// Opens what is configured and not open yet: all of it, or nothing.
    pub(crate) fn open_all(&mut self, spec: &AppSpec) -> Result<Vec<OpenedListener>, String> {
        let mut opened: Vec<OpenedListener> = Vec::new();
        for wanted in &spec.listen {
            let key = match &wanted.address {
                ListenAddress::Tcp(address) => Key::Tcp(*address, false),
                ListenAddress::Unix(path) => Key::Unix(path.clone()),
            };
            if self.find(&key).is_some() {
                continue;
            }
            match self.open_configured(wanted, spec.balance) {
                Ok(listener) => opened.push(listener.opened()),
                Err(error) => {
                    for listener in &opened {
                        self.close(listener.id);
                    }
                    return Err(match &wanted.address {
                        ListenAddress::Tcp(address) => refusal(*address, &error),
                        ListenAddress::Unix(path) => {
                            format!("cannot listen on unix:{}: {error}", path.display())
                        }
                    });
                }
            }
        }
        Ok(opened)
    }

    /// These sockets are about to listen. Whether that gives one a place in its group, which has to
    /// be written down before.
    pub(crate) fn announce(&mut self, lend: &[Place]) -> bool {
        let mut news = false;
        for (id, socket) in lend {
            let Some(listener) = self.get_mut(*id) else { continue };
            if !listener.is_shared() {
                // If it cannot listen, the call that makes it listen reports why.
                news |= listener.announce(*socket).unwrap_or(false);
            }
        }
        news
    }

    /// Finds out what the programs did to the sockets behind our back.
    pub(crate) fn mend(&mut self) -> io::Result<()> {
        self.open.values_mut().try_for_each(|listener| listener.mend().map(drop))
    }

    /// Whether the service manager has a copy of the socket with this inode.
    pub(crate) fn is_managers(&self, inode: u64) -> bool {
        self.lent.has(inode)
    }

    /// Connections that wait in these sockets' accept queues. What waits in a shared one is
    /// nobody's yet.
    pub(crate) fn queued_in<'a>(&self, sockets: impl Iterator<Item = &'a Place>) -> u32 {
        let one = |(listener, socket): &Place| {
            let open = self.get(*listener).filter(|open| !open.is_shared());
            open.map_or(0, |open| open.queued(*socket))
        };
        sockets.map(one).sum()
    }

    /// Those of these sockets that exist, with their inodes.
    pub(crate) fn with_inodes<'a>(
        &self,
        sockets: impl Iterator<Item = &'a Place>,
    ) -> impl Iterator<Item = (Place, u64)> {
        sockets.filter_map(|place| Some((*place, self.get(place.0)?.inode(place.1)?)))
    }

    /// Takes a socket over that listens already.
    fn adopt(
        &mut self,
        key: Key,
        address: SocketAddr,
        name: Option<String>,
        balance: Balance,
        hand_over: bool,
        fd: OwnedFd,
    ) -> io::Result<&Listener> {
        let kind = match balance {
            _ if hand_over => {
                socket::set_nonblocking(fd.as_fd(), true)?;
                Kind::HandOver(HandOver::default())
            }
            Balance::Shared => Kind::Shared,
            _ if can_be_joined(&fd, address) => Kind::Slots,
            _ => Kind::Shared,
        };
        let is_slots = matches!(kind, Kind::Slots);
        let id = self.insert(key, name, kind, balance, fd).id;
        let listener = self.open.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        if is_slots {
            // It listens: it is the first of its group, and what joins must get nothing unasked.
            listener.listen(SocketId(0), BACKLOG)?;
        }
        Ok(listener)
    }

    /// What is left of the group that the manager kept. It is no longer lent by anybody else, so
    /// sockets in which nobody waits are let go of: the last takes the place of one that leaves, as
    /// in the kernel's own list.
    fn adopt_others(&mut self, id: ListenerId, mut kept: Vec<OwnedFd>) -> io::Result<&Listener> {
        let listener = self.open.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        if matches!(listener.kind, Kind::Slots) {
            let is_empty = |fd: &OwnedFd| {
                socket::accept_queue(fd.as_fd()).is_ok_and(|queue| queue.waiting == 0)
            };
            for at in (0..kept.len()).rev() {
                if is_empty(&kept[at]) {
                    drop(kept.swap_remove(at));
                }
            }
            listener.adopt_group(kept)?;
        }
        Ok(listener)
    }

    fn insert(
        &mut self,
        key: Key,
        name: Option<String>,
        kind: Kind,
        balance: Balance,
        fd: OwnedFd,
    ) -> &Listener {
        let id = ListenerId(self.next);
        self.next += 1;
        self.open.entry(id).or_insert_with(|| Listener::new(id, key, name, kind, balance, fd))
    }

    /// Closes a listener, all its sockets and its socket file.
    pub(crate) fn close(&mut self, id: ListenerId) -> Option<Listener> {
        let listener = self.open.remove(&id)?;
        // The manager's own socket listens on, and new connections wait in it for our next start.
        if let Some(address) = listener.tcp_address()
            && let Ok(Some(fd)) = self.lent.tcp(address)
        {
            socket::release(fd.as_fd());
        }
        // The same where the manager keeps it.
        for (_, _, fd) in listener.listening_now() {
            socket::release(fd);
        }
        if let Key::Unix(path) = &listener.key
            && !self.lent.owns(path)
        {
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

    /// The paths of all unix sockets.
    pub(crate) fn paths(&self) -> Vec<&Path> {
        self.open.values().filter_map(Listener::path).collect()
    }

    /// Which socket of which listener an inode is.
    pub(crate) fn by_inode(&self, inode: u64) -> Option<(ListenerId, SocketId)> {
        self.open.values().find_map(|listener| Some((listener.id, listener.by_inode(inode)?)))
    }
}
