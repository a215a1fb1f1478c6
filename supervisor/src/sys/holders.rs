//! The processes that listen on an address already: for a message, never for a decision.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::{diag, procfs, target};

/// The most holders that a message names.
const MOST_HOLDERS: usize = 8;

/// A process that listens somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    pub(crate) command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} ({})", self.pid, self.command)
    }
}

/// The processes that listen where this address wants to. Empty if there is none or this process
/// may not know: only root sees the processes of other users.
pub(crate) fn holders(address: SocketAddr) -> Vec<Holder> {
    let Ok(listening) = diag::listening(address.port()) else { return Vec::new() };
    let inodes: HashMap<u64, SocketAddr> = listening
        .into_iter()
        .filter(|(other, _)| overlap(address.ip(), other.ip()))
        .map(|(other, inode)| (inode, other))
        .collect();
    if inodes.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for pid in procfs::pids() {
        let Ok(sockets) = target::sockets_of(&[pid]) else { continue };
        if sockets.iter().any(|inode| inodes.contains_key(inode)) {
            found.push(Holder { pid, command: command(pid) });
        }
        if found.len() == MOST_HOLDERS {
            break;
        }
    }
    found
}

/// Whether two listening sockets with these addresses and the same port conflict. Ignores that a
/// `[::]` may be for IPv6 only, since this is for a message.
fn overlap(one: IpAddr, other: IpAddr) -> bool {
    let (one, other) = (one.to_canonical(), other.to_canonical());
    let wide = |ip: IpAddr, beside: IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_unspecified() && beside.is_ipv4(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    one == other || wide(one, other) || wide(other, one)
}

/// The sockets of every process but `these`. `None`: this process may not look into one of
/// `needed`. Other processes that it may not look into belong to another user and are skipped.
pub(crate) fn sockets_of_all_but(these: &[u32], needed: &[u32]) -> Option<HashSet<u64>> {
    let mut all = target::sockets_of(needed).ok()?;
    for pid in procfs::pids().into_iter().filter(|pid| !these.contains(pid)) {
        all.extend(target::sockets_of(&[pid]).into_iter().flatten());
    }
    Some(all)
}

fn command(pid: u32) -> String {
    let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = String::from_utf8_lossy(&name);
    // A process can choose any name, and this ends up on a terminal.
    name.trim_end().chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn we_hold_what_we_listen_on() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut address = listener.local_addr().unwrap();
        let me = std::process::id();
        for ip in ["127.0.0.1", "0.0.0.0", "::"] {
            address.set_ip(ip.parse().unwrap());
            assert!(holders(address).iter().any(|holder| holder.pid == me), "{address}");
        }
        address.set_ip("127.0.0.2".parse().unwrap());
        assert_eq!(holders(address), []);
        address.set_ip("::1".parse().unwrap());
        assert_eq!(holders(address), []);
    }
}
