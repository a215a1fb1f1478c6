//! A socket of another process where `pidfd_getfd` is forbidden, as by the default profiles of
//! container runtimes. Then only /proc describes it, which does not tell which options the program
//! had set.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::getxattr;

use super::socket::{self, SocketTraits, traits_of};
use super::target::steal_fd;

/// `O_NONBLOCK` in the octal flags of fdinfo.
const NONBLOCK: i64 = libc::O_NONBLOCK as i64;

/// A program's socket: a copy of it, or only its descriptor number in the program.
#[derive(Debug)]
pub(crate) enum Theirs {
    Copy(OwnedFd),
    Place { tid: u32, fd: i32 },
}

impl Theirs {
    /// The socket that this thread has under this number.
    pub(crate) fn of(tid: u32, fd: i32) -> io::Result<Self> {
        match steal_fd(tid, fd) {
            Ok(copy) => Ok(Self::Copy(copy)),
            Err(error) => match error.raw_os_error() {
                // Forbidden, or a kernel before 5.6. A later read shows whether this process may
                // inspect the other at all.
                Some(libc::EPERM | libc::ENOSYS) => Ok(Self::Place { tid, fd }),
                _ => Err(error),
            },
        }
    }

    /// The copy, if there is one.
    pub(crate) fn copy(&self) -> Option<&OwnedFd> {
        match self {
            Self::Copy(copy) => Some(copy),
            Self::Place { .. } => None,
        }
    }

    pub(crate) fn inode(&self) -> io::Result<u64> {
        match self {
            Self::Copy(copy) => socket::inode(copy.as_fd()),
            Self::Place { tid, fd } => {
                let link = fs::read_link(format!("/proc/{tid}/fd/{fd}"))?;
                let inode = link.to_str().and_then(|link| {
                    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
                });
                inode.ok_or_else(|| io::ErrorKind::InvalidInput.into())
            }
        }
    }

    pub(crate) fn traits(&self) -> io::Result<SocketTraits> {
        match self {
            Self::Copy(copy) => traits_of(copy.as_fd()),
            Self::Place { tid, fd } => traits_at(*tid, *fd),
        }
    }
}

fn traits_at(tid: u32, fd: i32) -> io::Result<SocketTraits> {
    let mut name = [0u8; 32];
    let path = format!("/proc/{tid}/fd/{fd}");
    let length = getxattr(path, "system.sockprotoname", &mut name)?;
    let name = name[..length.min(name.len())].split(|byte| *byte == 0).next().unwrap_or_default();
    let is_v6 = name.ends_with(b"v6");
    let info = fs::read_to_string(format!("/proc/{tid}/fdinfo/{fd}"))?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|octal| i64::from_str_radix(octal.trim(), 8).ok()).unwrap_or(0);
    Ok(SocketTraits {
        is_tcp: matches!(name, b"TCP" | b"TCPv6" | b"MPTCP" | b"MPTCPv6"),
        is_v6,
        v6only: is_v6 && v6only_by_default(),
        nonblocking: flags & NONBLOCK != 0,
        reuseport: false,
        reuseaddr: false,
    })
}

/// The default for a program that does not set the option; most that set it ask for both families.
fn v6only_by_default() -> bool {
    fs::read_to_string("/proc/sys/net/ipv6/bindv6only").is_ok_and(|value| value.trim() == "1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::{AsRawFd, BorrowedFd};

    #[test]
    fn from_outside_it_looks_the_same() {
        let tid = u32::try_from(nix::unistd::gettid().as_raw()).unwrap();
        let check = |fd: BorrowedFd<'_>| {
            let place = Theirs::Place { tid, fd: fd.as_raw_fd() };
            let copy = Theirs::of(tid, fd.as_raw_fd()).unwrap();
            assert!(copy.copy().is_some() && place.copy().is_none());
            assert_eq!(place.inode().unwrap(), copy.inode().unwrap());
            // /proc does not show which options the program set, and std sets SO_REUSEADDR.
            let traits = SocketTraits { reuseaddr: false, ..copy.traits().unwrap() };
            assert_eq!(place.traits().unwrap(), traits);
        };
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        check(tcp.as_fd());
        tcp.set_nonblocking(true).unwrap();
        check(tcp.as_fd());
        if let Ok(v6) = TcpListener::bind("[::]:0") {
            check(v6.as_fd());
        }
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let place = Theirs::Place { tid, fd: udp.as_raw_fd() };
        assert!(!place.traits().unwrap().is_tcp);
        let file = fs::File::open("/dev/null").unwrap();
        assert!(Theirs::Place { tid, fd: file.as_raw_fd() }.traits().is_err());
    }
}
