//! Listening sockets: made, lent, watched, closed to new connections.
//!
//! The first socket of a group is bound without SO_REUSEPORT, so `bind` fails on an address that
//! another process listens on. It gets the option afterwards, so that the supervisor's further
//! sockets can join. Until it listens, it also keeps other processes from binding in the same way:
//! see `hold_alone`.

use std::fs::Permissions;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{SockType, getsockopt, setsockopt, sockopt};
use nix::sys::stat::{Mode, fchmod, fstat};
use rustix::io::Errno;
use rustix::net::{SocketAddrUnix, SocketFlags};
use socket2::{Domain, SockFilter, SockRef, Socket, Type};

pub(crate) use super::holders::holders;
pub(crate) use super::socket_options::{SocketTraits, copy_options, traits_of};

use super::bpf;

/// The backlog of sockets that are not a program's: the system's maximum.
const LONGEST_BACKLOG: i32 = i32::MAX;

/// The accept queue of a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Queue {
    /// Established connections that wait to be accepted.
    pub(crate) waiting: u32,
    pub(crate) limit: u32,
}

/// The first socket for an address: bound, not listening. `v6only`: as requested, otherwise the
/// system's default.
pub(crate) fn first_tcp(address: SocketAddr, v6only: Option<bool>) -> io::Result<OwnedFd> {
    let fd = tcp(address, v6only)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    rustix::net::bind(&fd, &address)?;
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    hold_alone(&fd, v6only)?;
    Ok(fd)
}

/// Protects a bound address, before `listen`, from a process that binds it with SO_REUSEADDR.
///
/// The kernel allows that, since both sockets might never listen. The other process could be a
/// supervisor too: both would switch on SO_REUSEPORT and share the address by accident. So this
/// switches the option off again (`listen` restores it). A second socket without the option joins
/// for a moment: this makes the kernel forget that all sockets of the port had the option, and
/// compare them one by one.
fn hold_alone(fd: &OwnedFd, v6only: Option<bool>) -> io::Result<()> {
    let Ok(bound) = SocketAddr::try_from(rustix::net::getsockname(fd)?) else { return Ok(()) };
    let witness = tcp(bound, v6only)?;
    setsockopt(&witness, sockopt::ReusePort, &true)?;
    // Old connections that still linger on the port can make this fail. The address is then a
    // little less protected until it listens, which is no reason to refuse it.
    if rustix::net::bind(&witness, &bound).is_ok() {
        setsockopt(fd, sockopt::ReuseAddr, &false)?;
    }
    Ok(())
}

/// A further socket for an address that the first one has: bound, not listening.
pub(crate) fn further_tcp(address: SocketAddr, v6only: Option<bool>) -> io::Result<OwnedFd> {
    let fd = tcp(address, v6only)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    rustix::net::bind(&fd, &address)?;
    Ok(fd)
}

/// One listening socket for all workers, which no other socket can join.
pub(crate) fn shared_tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let fd = tcp(address, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    rustix::net::bind(&fd, &address)?;
    rustix::net::listen(&fd, LONGEST_BACKLOG)?;
    Ok(fd)
}

/// Where this machine reaches a listening address.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A socket that is going to connect to a listening address of this machine, non-blocking, and its
/// own address, which nothing else has while it is open.
pub(crate) fn client_for(address: SocketAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    let to = reachable(address);
    let fd = tcp(to, None)?;
    rustix::net::bind(&fd, &SocketAddr::new(to.ip(), 0))?;
    set_nonblocking(fd.as_fd(), true)?;
    let own = local_address(fd.as_fd())?;
    Ok((fd, own))
}

/// Begins to connect a socket of `client_for`. Does not wait.
pub(crate) fn connect(fd: BorrowedFd<'_>, address: SocketAddr) -> io::Result<()> {
    match rustix::net::connect(fd, &reachable(address)) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn tcp(address: SocketAddr, v6only: Option<bool>) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if let (true, Some(v6only)) = (address.is_ipv6(), v6only) {
        socket.set_only_v6(v6only)?;
    }
    Ok(socket.into())
}

/// Listens, or changes the backlog of a socket that listens already.
pub(crate) fn listen(fd: BorrowedFd<'_>, backlog: i32) -> io::Result<()> {
    // `hold_alone` switched the option off. Accepted connections inherit it, and without it those
    // that linger after the app ends would keep the next process from binding the address. A socket
    // that the supervisor did not bind keeps its setting.
    let held_alone = is_inet(fd) && !getsockopt(&fd, sockopt::ReuseAddr)?;
    match rustix::net::listen(fd, backlog) {
        Err(Errno::ADDRINUSE) if held_alone => {
            // Such lingering connections may be in the way.
            setsockopt(&fd, sockopt::ReuseAddr, &true)?;
            rustix::net::listen(fd, backlog)?;
        }
        result => result?,
    }
    if held_alone {
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    Ok(())
}

/// Ends listening, as a program does that calls `shutdown` on its listening socket: each blocked
/// `accept` fails, the kernel resets what waits in the queue, and the last socket of the group
/// takes this one's place.
pub(crate) fn stop_listening(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::net::shutdown(fd, rustix::net::Shutdown::Both)?)
}

/// Whether the socket listens. An error: it is of a kind that never does.
pub(crate) fn listens(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(getsockopt(&fd, sockopt::AcceptConn)?)
}

/// An unbound TCP or unix socket, whose `accept` fails as that of a socket that was shut down.
pub(crate) fn deaf(like: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let family = SockRef::from(&like).domain()?;
    Ok(Socket::new(family, Type::STREAM, None)?.into())
}

fn is_inet(fd: BorrowedFd<'_>) -> bool {
    matches!(SockRef::from(&fd).domain(), Ok(Domain::IPV4 | Domain::IPV6))
}

/// Sets or clears O_NONBLOCK, which all copies of this descriptor share.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, nonblocking: bool) -> io::Result<()> {
    let mut flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    flags.set(OFlag::O_NONBLOCK, nonblocking);
    fcntl(fd, FcntlArg::F_SETFL(flags))?;
    Ok(())
}

/// A listening unix socket that has these permissions from its first moment. Replaces a socket file
/// that no process listens on; fails with `AddrInUse` if a process does.
pub(crate) fn unix_listener(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let fd = unix_stream(Type::STREAM)?;
    // Before the bind: the kernel creates the file with this mode, less the umask.
    fchmod(&fd, Mode::from_bits_truncate(mode))?;
    match rustix::net::bind(&fd, &address) {
        Err(Errno::ADDRINUSE) if is_stale(path, &address)? => {
            std::fs::remove_file(path)?;
            rustix::net::bind(&fd, &address)?;
        }
        result => result?,
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    rustix::net::listen(&fd, LONGEST_BACKLOG)?;
    Ok(fd)
}

fn unix_stream(kind: Type) -> io::Result<OwnedFd> {
    Ok(Socket::new(Domain::UNIX, kind, None)?.into())
}

/// Whether this is a socket file that no process listens on.
fn is_stale(path: &Path, address: &SocketAddrUnix) -> io::Result<bool> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    let probe = unix_stream(Type::STREAM.nonblocking())?;
    // A full queue gives EAGAIN: a process listens.
    Ok(rustix::net::connect(&probe, address) == Err(Errno::CONNREFUSED))
}

/// How many connections wait to be accepted from this listening TCP socket.
pub(crate) fn accept_queue(fd: BorrowedFd<'_>) -> io::Result<Queue> {
    let info = super::socket_options::get::<32>(fd, libc::IPPROTO_TCP, libc::TCP_INFO)?;
    // For a listening socket the kernel reports its queue in tcpi_unacked and tcpi_sacked.
    match (info.word(24), info.word(28)) {
        (Some(waiting), Some(limit)) => Ok(Queue { waiting, limit }),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// A socket's bound address.
pub(crate) fn local_address(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(rustix::net::getsockname(fd)?)?)
}

/// The path of a bound unix socket that takes connections. `None`: it is another socket, or has no
/// path in the file system (unix(7)).
pub(crate) fn unix_path(fd: BorrowedFd<'_>) -> io::Result<Option<PathBuf>> {
    let socket = SockRef::from(&fd);
    if socket.domain()? != Domain::UNIX || socket.r#type()? == Type::DGRAM {
        return Ok(None);
    }
    Ok(socket.local_addr()?.as_pathname().map(Path::to_owned))
}

/// A bound UDP socket, non-blocking.
pub(crate) fn udp(address: SocketAddr, v6only: bool, reuse: bool) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(reuse)?;
    if address.is_ipv6() {
        socket.set_only_v6(v6only)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Accepts one connection: non-blocking, close-on-exec. `None`: none waits.
pub(crate) fn accept(fd: BorrowedFd<'_>) -> io::Result<Option<(OwnedFd, SocketAddr)>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    match rustix::net::acceptfrom_with(fd, flags) {
        Ok((connection, peer)) => {
            // A peer that is already gone may have no address any more.
            let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
            let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).unwrap_or(nowhere);
            Ok(Some((connection, peer)))
        }
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Copies the first bytes of a connection and leaves them in its queue. `None`: there are none yet;
/// 0 bytes: the connection has ended.
pub(crate) fn peek(fd: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<Option<usize>> {
    let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
    match rustix::net::recv(fd, bytes, flags) {
        Ok((_, count)) => Ok(Some(count)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes polling report a connection as readable once this many bytes have arrived, or it has ended
/// (SO_RCVLOWAT; a new connection has 1).
pub(crate) fn wake_at(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    super::socket_options::set(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, &bytes.to_ne_bytes())
}

/// Whether no process has read from or written to this connection: every received byte is still in
/// its queue, and none was sent.
pub(crate) fn is_untouched(fd: BorrowedFd<'_>) -> bool {
    /// The offsets of tcpi_bytes_received and tcpi_bytes_sent in `struct tcp_info`.
    const RECEIVED: usize = 128;
    const SENT: usize = 200;
    /// The state in its first byte: the other side has closed its direction (TCP_CLOSE_WAIT).
    const HEARD_ALL: u8 = 8;
    let info = super::socket_options::get::<208>(fd, libc::IPPROTO_TCP, libc::TCP_INFO);
    let unread = rustix::io::ioctl_fionread(fd);
    match (info, unread) {
        (Ok(info), Ok(unread)) => {
            // The end of the stream counts as one more received byte.
            let state = info.word(0).map(|word| word.to_ne_bytes()[0]);
            let came = unread + u64::from(state == Some(HEARD_ALL));
            info.double_word(RECEIVED) == Some(came) && info.double_word(SENT) == Some(0)
        }
        _ => false,
    }
}

/// Closes this listening socket to new connections: drops the first packet of each, as if the
/// network had lost it. Handshakes under way and existing connections go on. The other side tries
/// again after a second, so a gated socket must be closed soon.
///
/// `PermissionDenied` where the kernel reserves filters on TCP sockets for privileged processes
/// (6.18 does); then use a `Trap` for the whole group.
pub(crate) fn gate(fd: BorrowedFd<'_>) -> io::Result<()> {
    /// SYN and ACK among the flags in byte 13 of the TCP header.
    const SYN_AND_ACK: u32 = 0x12;
    const SYN: u32 = 0x02;
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    let program = [
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(AND, 0, 0, SYN_AND_ACK),
        SockFilter::new(bpf::IF_EQUAL, 0, 1, SYN),
        SockFilter::new(bpf::RETURN, 0, 0, 0),
        SockFilter::new(bpf::RETURN, 0, 0, u32::MAX),
    ];
    SockRef::from(&fd).attach_filter(&program)
}

/// Undoes `gate` and every steering of this socket, which another process goes on using. Undoing
/// what was never done is no error.
pub(crate) fn release(fd: BorrowedFd<'_>) {
    /// SO_DETACH_REUSEPORT_BPF of asm-generic/socket.h.
    const DETACH_REUSEPORT_BPF: i32 = 68;
    let none = 0i32.to_ne_bytes();
    for option in [libc::SO_DETACH_FILTER, DETACH_REUSEPORT_BPF] {
        // ENOENT: nothing was attached.
        let _ = super::socket_options::set(fd, libc::SOL_SOCKET, option, &none);
    }
}

/// Both addresses of an established TCP connection: local and remote.
pub(crate) fn connection(fd: BorrowedFd<'_>) -> Option<(SocketAddr, SocketAddr)> {
    let stream = getsockopt(&fd, sockopt::SockType).ok()? == SockType::Stream && is_inet(fd);
    let other = rustix::net::getpeername(fd).ok().filter(|_| stream)??;
    Some((local_address(fd).ok()?, SocketAddr::try_from(other).ok()?))
}

/// The inode by which /proc and sock_diag name this socket.
pub(crate) fn inode(fd: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(fstat(fd)?.st_ino)
}
