//! Inspects another process: the address that it passed to `bind`, a copy of its socket, its
//! descriptors. Everything read here is a claim by that process and may be outdated at once.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};

use super::pidfd::{self, Pid};
use super::procfs;

/// `sizeof(struct sockaddr_storage)`: the longest address.
const LONGEST_ADDRESS: usize = 128;
/// The most processes that are inspected for one worker.
const MOST_DESCENDANTS: usize = 4096;

/// The address that a program passed to `bind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetAddress {
    Inet(SocketAddr),
    Unix,
    /// Something else, or nonsense; the kernel decides.
    Other,
}

/// The process this thread belongs to.
pub(crate) fn thread_group(tid: u32) -> io::Result<u32> {
    let status = std::fs::read(format!("/proc/{tid}/status"))?;
    let status = String::from_utf8_lossy(&status);
    let tgid = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
    tgid.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Reads a socket address from the memory of this thread's process.
pub(crate) fn read_address(tid: u32, ptr: u64, len: u32) -> io::Result<TargetAddress> {
    let len = len as usize;
    if !(size_of::<libc::sa_family_t>()..=LONGEST_ADDRESS).contains(&len) {
        return Ok(TargetAddress::Other);
    }
    let mut buffer = [0u8; LONGEST_ADDRESS];
    let base = usize::try_from(ptr).map_err(|_| io::ErrorKind::InvalidInput)?;
    let tid = nix::unistd::Pid::from_raw(raw_pid(tid)?);
    let mut local = [IoSliceMut::new(&mut buffer[..len])];
    let read = process_vm_readv(tid, &mut local, &[RemoteIoVec { base, len }])?;
    Ok(understand(&buffer[..read.min(len)]))
}

fn understand(address: &[u8]) -> TargetAddress {
    let two = |at: usize| Some([*address.get(at)?, *address.get(at + 1)?]);
    let four = |at: usize| address.get(at..at + 4)?.first_chunk::<4>().copied();
    let Some(family) = two(0).map(|bytes| i32::from(u16::from_ne_bytes(bytes))) else {
        return TargetAddress::Other;
    };
    let port = two(2).map(u16::from_be_bytes);
    let inet = match family {
        libc::AF_UNIX => return TargetAddress::Unix,
        libc::AF_INET if address.len() >= size_of::<libc::sockaddr_in>() => (|| {
            let ip = Ipv4Addr::from(four(4)?);
            Some(SocketAddr::V4(SocketAddrV4::new(ip, port?)))
        })(),
        // 24 bytes, without the scope, was the size of the old structure, and the kernel still
        // accepts it.
        libc::AF_INET6 if address.len() >= 24 => (|| {
            let ip = Ipv6Addr::from(*address.get(8..24)?.first_chunk::<16>()?);
            let flow = u32::from_be_bytes(four(4)?);
            let scope = four(24).map_or(0, u32::from_ne_bytes);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, port?, flow, scope)))
        })(),
        _ => None,
    };
    inet.map_or(TargetAddress::Other, TargetAddress::Inet)
}

/// Whether this thread is in the network namespace of this process. An error kind: it cannot be
/// seen.
pub(crate) fn in_own_network(tid: u32) -> Result<bool, io::ErrorKind> {
    let of = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).map_err(|e| e.kind());
    Ok(of(&tid.to_string())? == of("self")?)
}

/// Copies this thread's fd; the copy is close-on-exec.
pub(crate) fn steal_fd(tid: u32, fd: i32) -> io::Result<OwnedFd> {
    let pidfd = pidfd::open(Pid(thread_group(tid)?))?;
    Ok(pidfd_getfd(&pidfd, fd, PidfdGetfdFlags::empty())?)
}

/// Whether this thread's fd is close-on-exec.
pub(crate) fn is_cloexec(tid: u32, fd: i32) -> io::Result<bool> {
    let info = std::fs::read_to_string(format!("/proc/{tid}/fdinfo/{fd}"))?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|octal| i64::from_str_radix(octal.trim(), 8).ok());
    let flags = flags.ok_or(io::ErrorKind::InvalidData)?;
    Ok(flags & i64::from(libc::O_CLOEXEC) != 0)
}

/// The inodes of all sockets that these processes have open. A process that is gone has none. A
/// process that this one may not inspect is an error.
pub(crate) fn sockets_of(pids: &[u32]) -> io::Result<HashSet<u64>> {
    let mut inodes = HashSet::new();
    for pid in pids {
        match add_sockets_of(*pid, &mut inodes) {
            Err(error) if is_gone(&error) => {}
            result => result?,
        }
    }
    Ok(inodes)
}

fn add_sockets_of(pid: u32, inodes: &mut HashSet<u64>) -> io::Result<()> {
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        let link = match entry.and_then(|entry| std::fs::read_link(entry.path())) {
            // It was closed between the listing and the query.
            Err(error) if is_gone(&error) => continue,
            other => other?,
        };
        let inode = link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']'));
        inodes.extend(inode.and_then(|inode| inode.parse::<u64>().ok()));
    }
    Ok(())
}

/// The numbers under which this thread's process has the socket of this inode.
pub(crate) fn numbers_of(tid: u32, inode: u64) -> io::Result<Vec<i32>> {
    let wanted = format!("socket:[{inode}]");
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{tid}/fd"))? {
        let entry = entry?;
        if std::fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str()) {
            numbers.extend(entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
        }
    }
    Ok(numbers)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

/// This process and all that it started, directly or not, and that still have a parent in the
/// family: an orphan has another parent now.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let mut found = BTreeSet::from([pid]);
    let mut order = vec![pid];
    let mut next = 0;
    while next < order.len() && order.len() < MOST_DESCENDANTS {
        for child in children_of(order[next]) {
            if found.insert(child) {
                order.push(child);
            }
        }
        next += 1;
    }
    order
}

/// The processes whose parent is this one.
pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let mut children = Vec::new();
    for task in tasks.flatten() {
        match std::fs::read_to_string(task.path().join("children")) {
            Ok(list) => {
                children.extend(list.split_ascii_whitespace().flat_map(str::parse::<u32>));
            }
            // A kernel without that file: query the parent of every process.
            Err(_) if task.path().join("stat").exists() => return procfs::children(pid),
            // The thread is gone.
            Err(_) => {}
        }
    }
    children
}

fn raw_pid(pid: u32) -> io::Result<i32> {
    i32::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::{AsFd, AsRawFd};

    use super::*;
    use crate::sys::socket;

    #[test]
    fn addresses() {
        let mut v4 = vec![0u8; 16];
        v4[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        v4[2..8].copy_from_slice(&[0x1f, 0x90, 127, 0, 0, 1]);
        let expected = TargetAddress::Inet("127.0.0.1:8080".parse().unwrap());
        assert_eq!(understand(&v4), expected);
        assert_eq!(understand(&v4[..15]), TargetAddress::Other);
        let mut v6 = vec![0u8; 28];
        v6[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        v6[2..4].copy_from_slice(&[0, 80]);
        v6[8..10].copy_from_slice(&[0xfe, 0x80]);
        v6[23] = 1;
        v6[24..28].copy_from_slice(&5u32.to_ne_bytes());
        let address = SocketAddrV6::new("fe80::1".parse().unwrap(), 80, 0, 5);
        assert_eq!(understand(&v6), TargetAddress::Inet(address.into()));
        assert_eq!(understand(&1u16.to_ne_bytes()), TargetAddress::Unix);
        assert_eq!(understand(&16u16.to_ne_bytes()), TargetAddress::Other);
        assert_eq!(understand(&[]), TargetAddress::Other);
        assert_eq!(read_address(1, 0, 0).unwrap(), TargetAddress::Other);
        assert_eq!(read_address(1, 0, 4000).unwrap(), TargetAddress::Other);
    }

    #[test]
    fn into_ourselves() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let me = std::process::id();
        let tid = u32::try_from(nix::unistd::gettid().as_raw()).unwrap();
        assert_eq!(thread_group(tid).unwrap(), me);
        let fd = listener.as_raw_fd();
        assert!(is_cloexec(tid, fd).unwrap());
        let copy = steal_fd(tid, fd).unwrap();
        let inode = socket::inode(copy.as_fd()).unwrap();
        assert_eq!(inode, socket::inode(listener.as_fd()).unwrap());
        assert!(sockets_of(&[me, u32::MAX / 2]).unwrap().contains(&inode));
        let mut numbers = numbers_of(tid, inode).unwrap();
        numbers.sort_unstable();
        let mut expected = [fd, copy.as_raw_fd()];
        expected.sort_unstable();
        assert_eq!(numbers, expected);
        assert_eq!(descendants(me).first(), Some(&me));
    }

    #[test]
    fn a_grandchild_is_a_descendant() {
        use std::io::{BufRead, BufReader};
        let mut shell = std::process::Command::new("/bin/sh")
            .args(["-c", "sh -c 'sleep 1000 & echo $!; wait'; true"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let grandchild: u32 = line.trim().parse().unwrap();
        let family = descendants(shell.id());
        shell.kill().unwrap();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(grandchild as i32),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        shell.wait().unwrap();
        assert!(family.contains(&grandchild), "{family:?} has no {grandchild}");
    }
}
