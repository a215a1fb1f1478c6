//! Sockets that a service manager opened before us (LISTEN_FDS): they become the listeners of
//! their addresses when a worker, or the configuration, asks for these. Connections may wait in
//! them already.
//!
//! One that was opened with SO_REUSEPORT (`ReusePort=yes` in a `.socket` unit) becomes the first
//! slot socket of a group, like one of our own. Another cannot be joined by more: all workers
//! share it.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::socket::{getsockopt, sockopt};
use serde::{Deserialize, Serialize};
use socket2::SockRef;

use super::fdstore::{FdStore, index_of};
use crate::sys::held::{Claims, Held};
use crate::sys::pidfd::Pid;
use crate::sys::{inherited, socket};

/// All sockets that the service manager passed.
#[derive(Debug, Default)]
pub(crate) struct Lent {
    sockets: Vec<Given>,
}

#[derive(Debug)]
struct Given {
    place: Place,
    fd: OwnedFd,
    /// A worker, or the configuration, has asked for it.
    used: bool,
    /// It is one of ours, which the manager kept: its place in its group.
    kept: Option<u32>,
}

/// All of them, snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::runtime) struct ActivationSnapshot(Vec<(Place, Held, bool, Option<u32>)>);

impl ActivationSnapshot {
    pub(in crate::runtime) fn restore(self, claims: &mut Claims) -> Lent {
        let given = |(place, held, used, kept)| {
            Some(Given { place, fd: claims.claim(held).ok()?, used, kept })
        };
        Lent { sockets: self.0.into_iter().filter_map(given).collect() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Lent {
    /// Takes the sockets that this process's environment lists, which were passed to its keeper.
    /// Those that the manager kept for us are noted in `store`. Also returns messages about what it
    /// could not take.
    pub(in crate::runtime) fn take(keeper: Pid, store: &mut FdStore) -> (Self, Vec<String>) {
        let vars = |key: &str| std::env::var(key).ok();
        let listed = match systemd::listen::taken_from_env(vars, keeper.0) {
            Ok(listed) => listed,
            Err(error) => return (Self::default(), vec![error.to_string()]),
        };
        let mut lent = Self::default();
        let mut complaints = Vec::new();
        for (name, number) in listed {
            match inherited::take(number).and_then(|fd| Ok((place(&fd)?, fd))) {
                Ok((place, fd)) => {
                    let kept = index_of(&name);
                    if let (Some(_), Ok(inode)) = (kept, socket::inode(fd.as_fd())) {
                        store.knows(inode, name);
                    }
                    lent.sockets.push(Given { place, fd, used: false, kept });
                }
                Err(error) => complaints.push(format!(
                    "cannot use the socket {name:?} that was passed as descriptor {number}: {error}"
                )),
            }
        }
        (lent, complaints)
    }

    pub(in crate::runtime) fn snapshot(&self) -> ActivationSnapshot {
        let snapshot = |given: &Given| {
            (given.place.clone(), Held::of(given.fd.as_fd()), given.used, given.kept)
        };
        ActivationSnapshot(self.sockets.iter().map(snapshot).collect())
    }

    /// The numbers of those of this process's environment.
    pub(in crate::runtime) fn numbers(keeper: Pid) -> Vec<i32> {
        let vars = |key: &str| std::env::var(key).ok();
        let listed = systemd::listen::taken_from_env(vars, keeper.0).unwrap_or_default();
        listed.into_iter().map(|(_, number)| number).collect()
    }

    /// A copy of the socket of this address. It stays open here, as it does in the manager.
    pub(in crate::runtime) fn tcp(&mut self, address: SocketAddr) -> io::Result<Option<OwnedFd>> {
        self.copy(&Place::Tcp(address))
    }

    /// Whether the service manager passed a socket of this address.
    pub(in crate::runtime) fn has_tcp(&self, address: SocketAddr) -> bool {
        self.sockets.iter().any(|given| given.place == Place::Tcp(address))
    }

    /// The same for a path.
    pub(in crate::runtime) fn unix(&mut self, path: &Path) -> io::Result<Option<OwnedFd>> {
        self.copy(&Place::Unix(path.to_owned()))
    }

    /// Our own of this address, in the order of their group. They are the listener's from now on.
    pub(in crate::runtime) fn kept(&mut self, address: SocketAddr) -> Vec<OwnedFd> {
        let place = Place::Tcp(address);
        let ours = |given: &mut Given| given.kept.is_some() && given.place == place;
        let mut kept: Vec<Given> = self.sockets.extract_if(.., ours).collect();
        kept.sort_by_key(|given| given.kept);
        kept.into_iter().map(|given| given.fd).collect()
    }

    /// Our own of this path. It is the listener's from now on.
    pub(in crate::runtime) fn kept_unix(&mut self, path: &Path) -> Option<OwnedFd> {
        let place = Place::Unix(path.to_owned());
        let at = self.sockets.iter().position(|g| g.kept.is_some() && g.place == place)?;
        Some(self.sockets.remove(at).fd)
    }

    /// Those that the manager kept and nobody has asked for yet.
    pub(in crate::runtime) fn inodes(&self) -> BTreeSet<u64> {
        let kept = self.sockets.iter().filter(|given| given.kept.is_some());
        kept.filter_map(|given| socket::inode(given.fd.as_fd()).ok()).collect()
    }

    /// Whether this is one that the manager opened.
    pub(in crate::runtime) fn has(&self, inode: u64) -> bool {
        let opened = self.sockets.iter().filter(|given| given.kept.is_none());
        opened.map(|given| socket::inode(given.fd.as_fd())).any(|own| own.is_ok_and(|i| i == inode))
    }

    /// Those that the manager kept and nobody will ask for.
    pub(in crate::runtime) fn drop_kept(&mut self) {
        self.sockets.retain(|given| given.kept.is_none());
    }

    fn copy(&mut self, place: &Place) -> io::Result<Option<OwnedFd>> {
        let lent = |given: &&mut Given| given.kept.is_none() && given.place == *place;
        let Some(given) = self.sockets.iter_mut().find(lent) else {
            return Ok(None);
        };
        given.used = true;
        given.fd.try_clone().map(Some)
    }

    /// Whether the file of this socket is the manager's to remove.
    pub(in crate::runtime) fn owns(&self, path: &Path) -> bool {
        let place = Place::Unix(path.to_owned());
        self.sockets.iter().any(|given| given.kept.is_none() && given.place == place)
    }

    /// What a person should know about the sockets that the service manager passed.
    pub(in crate::runtime) fn note(&self) -> Option<String> {
        let unused = self.unused();
        (!unused.is_empty()).then(|| {
            let sockets = unused.join(", ");
            format!("nobody has asked for {sockets}, which the service manager passed to us")
        })
    }

    /// The addresses that nobody has asked for.
    fn unused(&self) -> Vec<String> {
        let unused = self.sockets.iter().filter(|given| !given.used && given.kept.is_none());
        unused
            .map(|given| match &given.place {
                Place::Tcp(address) => address.to_string(),
                Place::Unix(path) => format!("unix:{}", path.display()),
            })
            .collect()
    }
}

/// Whether more sockets can listen at its address, each for one worker.
pub(in crate::runtime) fn can_be_joined(fd: &OwnedFd, address: SocketAddr) -> bool {
    let v6only = address.is_ipv6().then(|| getsockopt(fd, sockopt::Ipv6V6Only).unwrap_or(false));
    // Another user's group cannot be joined either, but only an attempt shows that.
    getsockopt(fd, sockopt::ReusePort).unwrap_or(false)
        && socket::further_tcp(address, v6only).is_ok()
}

fn place(fd: &OwnedFd) -> io::Result<Place> {
    let name = SockRef::from(fd).local_addr()?;
    if let Some(address) = name.as_socket() {
        return Ok(Place::Tcp(address));
    }
    name.as_pathname()
        .map(|path| Place::Unix(path.to_owned()))
        .ok_or_else(|| io::Error::other("it is neither a TCP socket nor one with a path"))
}
