//! The state of a program's own socket, and how to give a slot socket the same options.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{SockType, getsockopt, sockopt};
use socket2::{Domain, SockRef, Socket, Type};

/// Multipath TCP: Go's `net.Listen` asks for it where the kernel has it.
const MPTCP: i32 = 262;

/// The state of a program's socket when it called `bind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SocketTraits {
    /// A TCP socket over IPv4 or IPv6.
    pub(crate) is_tcp: bool,
    /// An IPv6 socket.
    pub(crate) is_v6: bool,
    /// IPV6_V6ONLY; false for IPv4.
    pub(crate) v6only: bool,
    pub(crate) nonblocking: bool,
    /// Whether the program set SO_REUSEPORT itself.
    pub(crate) reuseport: bool,
    /// Whether the program set SO_REUSEADDR.
    pub(crate) reuseaddr: bool,
}

/// Inspects a socket. A descriptor that is not a socket is an error.
pub(crate) fn traits_of(fd: BorrowedFd<'_>) -> io::Result<SocketTraits> {
    let family = SockRef::from(&fd).domain()?;
    let is_v6 = family == Domain::IPV6;
    let is_inet = is_v6 || family == Domain::IPV4;
    let protocol = get::<4>(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL)?.word(0);
    let protocol = protocol.and_then(|number| i32::try_from(number).ok());
    let is_stream = getsockopt(&fd, sockopt::SockType)? == SockType::Stream;
    Ok(SocketTraits {
        is_tcp: is_inet && is_stream && matches!(protocol, Some(0 | libc::IPPROTO_TCP | MPTCP)),
        is_v6,
        v6only: is_v6 && getsockopt(&fd, sockopt::Ipv6V6Only)?,
        nonblocking: OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?)
            .contains(OFlag::O_NONBLOCK),
        reuseport: is_inet && getsockopt(&fd, sockopt::ReusePort)?,
        reuseaddr: is_inet && getsockopt(&fd, sockopt::ReuseAddr)?,
    })
}

/// How the value of an option is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The kernel returns the written value.
    Plain,
    /// The kernel returns twice the written value.
    Doubled,
}

/// Options that a program may set before it listens, and that its accepted connections inherit or
/// that change how it accepts. SO_REUSEADDR, SO_REUSEPORT and IPV6_V6ONLY are not among them: they
/// belong to the address, which the supervisor owns.
const OPTIONS: &[(i32, i32, Kind)] = &[
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE, Kind::Plain),
    (libc::SOL_SOCKET, libc::SO_RCVBUF, Kind::Doubled),
    (libc::SOL_SOCKET, libc::SO_SNDBUF, Kind::Doubled),
    (libc::SOL_SOCKET, libc::SO_LINGER, Kind::Plain),
    (libc::SOL_SOCKET, libc::SO_OOBINLINE, Kind::Plain),
    (libc::SOL_SOCKET, libc::SO_PRIORITY, Kind::Plain),
    (libc::SOL_SOCKET, libc::SO_RCVLOWAT, Kind::Plain),
    (libc::SOL_SOCKET, libc::SO_RCVTIMEO, Kind::Plain),
    (libc::SOL_SOCKET, libc::SO_SNDTIMEO, Kind::Plain),
    (libc::SOL_SOCKET, libc::SO_MARK, Kind::Plain),
    (libc::SOL_SOCKET, libc::SO_BUSY_POLL, Kind::Plain),
    (libc::SOL_SOCKET, libc::SO_ZEROCOPY, Kind::Plain),
    (libc::SOL_SOCKET, libc::SO_BINDTODEVICE, Kind::Plain),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY, Kind::Plain),
    (libc::IPPROTO_TCP, libc::TCP_MAXSEG, Kind::Plain),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, Kind::Plain),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, Kind::Plain),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, Kind::Plain),
    (libc::IPPROTO_TCP, libc::TCP_SYNCNT, Kind::Plain),
    (libc::IPPROTO_TCP, libc::TCP_LINGER2, Kind::Plain),
    (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, Kind::Plain),
    (libc::IPPROTO_TCP, libc::TCP_FASTOPEN, Kind::Plain),
    (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, Kind::Plain),
    (libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, Kind::Plain),
    (libc::IPPROTO_TCP, libc::TCP_CONGESTION, Kind::Plain),
    (libc::IPPROTO_IP, libc::IP_TOS, Kind::Plain),
    (libc::IPPROTO_IP, libc::IP_TTL, Kind::Plain),
    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, Kind::Plain),
    (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, Kind::Plain),
];

/// Copies the options that the program changed on `from` to `to`, as far as possible: an option
/// that this kernel does not know, or does not let this process set, stays as it is.
pub(crate) fn copy_options(from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
    let Ok(fresh) = fresh_like(from) else { return };
    for (level, name, kind) in OPTIONS.iter().copied() {
        let read = |fd| get::<64>(fd, level, name).ok();
        let fresh = read(std::os::fd::AsFd::as_fd(&fresh));
        if let (Some(changed), Some(fresh)) = (read(from), fresh)
            && changed.bytes() != fresh.bytes()
        {
            // Best effort, see above.
            let _ = set(to, level, name, &changed.to_write(kind));
        }
    }
}

fn fresh_like(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let family = SockRef::from(&fd).domain()?;
    Ok(Socket::new(family, Type::STREAM, None)?.into())
}

/// The value of an option: a number, a structure or a text.
#[derive(Debug)]
pub(super) struct Value<const N: usize> {
    buffer: [u8; N],
    len: usize,
}

impl<const N: usize> Value<N> {
    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// The number at this offset, if the kernel returned that much.
    pub(super) fn word(&self, offset: usize) -> Option<u32> {
        let word = self.bytes().get(offset..)?.first_chunk::<4>()?;
        Some(u32::from_ne_bytes(*word))
    }

    /// As `word`, for 64 bits.
    pub(super) fn double_word(&self, offset: usize) -> Option<u64> {
        let word = self.bytes().get(offset..)?.first_chunk::<8>()?;
        Some(u64::from_ne_bytes(*word))
    }

    fn to_write(&self, kind: Kind) -> Vec<u8> {
        match (kind, self.word(0)) {
            (Kind::Doubled, Some(doubled)) => (doubled / 2).to_ne_bytes().to_vec(),
            _ => self.bytes().to_vec(),
        }
    }
}

/// Read an option.
pub(super) fn get<const N: usize>(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
) -> io::Result<Value<N>> {
    let mut buffer = [0u8; N];
    let mut len = libc::socklen_t::try_from(N).unwrap_or(0);
    // SAFETY: the kernel writes at most `len` bytes to `buffer`, which has that many, and then the
    // number that it wrote to `len`.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, name, buffer.as_mut_ptr().cast(), &raw mut len)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Value { buffer, len: N.min(len as usize) })
}

pub(super) fn set(fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let len = libc::socklen_t::try_from(value.len()).unwrap_or(0);
    // SAFETY: the kernel reads `len` bytes of `value`, which has that many.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

    use super::*;

    #[test]
    fn traits() {
        let v6 = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).unwrap();
        v6.set_only_v6(true).unwrap();
        v6.set_nonblocking(true).unwrap();
        v6.set_reuse_port(true).unwrap();
        let traits = traits_of(v6.as_fd()).unwrap();
        assert!(traits.is_tcp && traits.is_v6 && traits.v6only);
        assert!(traits.nonblocking && traits.reuseport);
        let v4 = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let traits = traits_of(v4.as_fd()).unwrap();
        assert!(traits.is_tcp && !traits.is_v6 && !traits.v6only);
        assert!(!traits.nonblocking && !traits.reuseport);
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(!traits_of(udp.as_fd()).unwrap().is_tcp);
        let folder = tempfile::tempdir().unwrap();
        let unix = UnixListener::bind(folder.path().join("s")).unwrap();
        assert!(!traits_of(unix.as_fd()).unwrap().is_tcp);
        assert!(traits_of(std::fs::File::open("/").unwrap().as_fd()).is_err());
    }

    #[test]
    fn changed_options_are_copied_and_others_left() {
        for domain in [Domain::IPV4, Domain::IPV6] {
            let socket = || Socket::new(domain, Type::STREAM, None).unwrap();
            let (from, to) = (socket(), socket());
            from.set_recv_buffer_size(77_000).unwrap();
            from.set_linger(Some(Duration::from_secs(9))).unwrap();
            from.set_tcp_nodelay(true).unwrap();
            let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(33));
            from.set_tcp_keepalive(&keepalive).unwrap();
            from.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
            set(from.as_fd(), libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, &3i32.to_ne_bytes())
                .unwrap();
            set(from.as_fd(), libc::IPPROTO_TCP, libc::TCP_CONGESTION, b"reno").unwrap();
            if domain == Domain::IPV6 {
                from.set_tclass_v6(0x48).unwrap();
            } else {
                from.set_tos_v4(0x10).unwrap();
            }
            let untouched = to.send_buffer_size().unwrap();
            copy_options(from.as_fd(), to.as_fd());
            for (level, name, _) in OPTIONS.iter().copied() {
                let of = |socket: &Socket| {
                    get::<64>(socket.as_fd(), level, name).map(|value| value.bytes().to_vec()).ok()
                };
                assert_eq!(of(&from), of(&to), "option {level}/{name}");
            }
            assert_eq!(to.send_buffer_size().unwrap(), untouched);
            assert_eq!(to.tcp_keepalive_time().unwrap(), Duration::from_secs(33));
        }
    }
}
