//! Sockets that a service manager opened before us (LISTEN_FDS): they become the listeners of
//! their addresses when a worker, or the configuration, asks for these. Connections may wait in
//! them already.
//!
//! One that was opened with SO_REUSEPORT (`ReusePort=yes` in a `.socket` unit) becomes the first
//! slot socket of a group, like one of our own. Another cannot be joined by more: all workers
//! share it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::net::{SocketAddrAny, getsockname, sockopt};
use serde::{Deserialize, Serialize};

use crate::sys::held::{Claims, Held};
use crate::sys::pidfd::Pid;
use crate::sys::{inherited, socket};

/// All that were given.
#[derive(Debug, Default)]
pub(crate) struct Lent {
    sockets: Vec<Given>,
}

#[derive(Debug)]
struct Given {
    place: Place,
    fd: OwnedFd,
    /// Somebody has asked for it.
    used: bool,
}

/// All of them, frozen.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FrozenLent(Vec<(Place, Held, bool)>);

impl FrozenLent {
    pub(super) fn thaw(self, claims: &mut Claims) -> Lent {
        let given = |(place, held, used)| Some(Given { place, fd: claims.claim(held).ok()?, used });
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
    /// Takes those of this process's environment, which were passed to its keeper; and what could
    /// not be taken, in words.
    pub(super) fn take(keeper: Pid) -> (Self, Vec<String>) {
        let vars = |key: &str| std::env::var(key).ok();
        let listed = match systemd::listen::taken_from_env(vars, keeper.0) {
            Ok(listed) => listed,
            Err(error) => return (Self::default(), vec![error.to_string()]),
        };
        let mut lent = Self::default();
        let mut complaints = Vec::new();
        for (name, number) in listed {
            match inherited::take(number).and_then(|fd| Ok((place(&fd)?, fd))) {
                Ok((place, fd)) => lent.sockets.push(Given { place, fd, used: false }),
                Err(error) => complaints.push(format!(
                    "cannot use the socket {name:?} that was passed as descriptor {number}: {error}"
                )),
            }
        }
        (lent, complaints)
    }

    pub(super) fn freeze(&self) -> FrozenLent {
        let frozen = |given: &Given| (given.place.clone(), Held::of(given.fd.as_fd()), given.used);
        FrozenLent(self.sockets.iter().map(frozen).collect())
    }

    /// The numbers of those of this process's environment.
    pub(super) fn numbers(keeper: Pid) -> Vec<i32> {
        let vars = |key: &str| std::env::var(key).ok();
        let listed = systemd::listen::taken_from_env(vars, keeper.0).unwrap_or_default();
        listed.into_iter().map(|(_, number)| number).collect()
    }

    /// A copy of the socket of this address. It stays open here, as it does in the manager.
    pub(super) fn tcp(&mut self, address: SocketAddr) -> io::Result<Option<OwnedFd>> {
        self.copy(&Place::Tcp(address))
    }

    /// The same for a path.
    pub(super) fn unix(&mut self, path: &Path) -> io::Result<Option<OwnedFd>> {
        self.copy(&Place::Unix(path.to_owned()))
    }

    fn copy(&mut self, place: &Place) -> io::Result<Option<OwnedFd>> {
        let Some(given) = self.sockets.iter_mut().find(|given| given.place == *place) else {
            return Ok(None);
        };
        given.used = true;
        given.fd.try_clone().map(Some)
    }

    /// Whether the file of this socket is the manager's to remove.
    pub(super) fn owns(&self, path: &Path) -> bool {
        self.sockets.iter().any(|given| given.place == Place::Unix(path.to_owned()))
    }

    /// The addresses that nobody has asked for.
    pub(super) fn unused(&self) -> Vec<String> {
        let unused = self.sockets.iter().filter(|given| !given.used);
        unused
            .map(|given| match &given.place {
                Place::Tcp(address) => address.to_string(),
                Place::Unix(path) => format!("unix:{}", path.display()),
            })
            .collect()
    }
}

/// Whether more sockets can listen at its address, each for one worker.
pub(super) fn can_be_joined(fd: &OwnedFd, address: SocketAddr) -> bool {
    let v6only = address.is_ipv6().then(|| sockopt::ipv6_v6only(fd).unwrap_or(false));
    // Another user's group cannot be joined either: that only trying tells.
    sockopt::socket_reuseport(fd.as_fd()).unwrap_or(false)
        && socket::further_tcp(address, v6only).is_ok()
}

fn place(fd: &OwnedFd) -> io::Result<Place> {
    let name = getsockname(fd)?;
    if let Ok(address) = SocketAddr::try_from(name.clone()) {
        return Ok(Place::Tcp(address));
    }
    unix_path(name)
        .map(Place::Unix)
        .ok_or_else(|| io::Error::other("it is neither a TCP socket nor one with a path"))
}

fn unix_path(name: SocketAddrAny) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let unix = rustix::net::SocketAddrUnix::try_from(name).ok()?;
    let path = unix.path()?.into_owned().into_bytes();
    Some(std::ffi::OsString::from_vec(path).into())
}
