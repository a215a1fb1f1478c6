//! The kernel's list of TCP sockets, over netlink (sock_diag): connections, their queues, and when
//! the last byte went out or came in.
//!
//! A list is complete or it is an error: an overrun, a truncated message or an interrupted dump
//! never gives a part of it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::{Domain, Protocol, Socket, Type};

/// Bytes of the receive buffer. The kernel's largest message of a dump is 32 KiB.
const BUFFER: usize = 64 * 1024;
/// The most sockets in one answer; more are an error.
const MOST_SOCKETS: usize = 1 << 20;
/// How long to wait for an answer. The kernel answers at once or never.
const PATIENCE: Duration = Duration::from_secs(2);
/// Up to this many ports are queried one by one; for more, all sockets are listed and filtered.
const PORTS_ASKED_SINGLY: usize = 4;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const NLM_F_DUMP_INTR: u16 = 0x10;
const INET_DIAG_INFO: u16 = 2;
/// The sizes of `struct nlmsghdr`, `struct inet_diag_req_v2`, `struct inet_diag_msg`, `struct
/// nlattr`.
const HEADER: usize = 16;
const REQUEST: usize = 56;
const MESSAGE: usize = 72;
const ATTRIBUTE: usize = 4;

/// The states of a TCP connection that still matter to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TcpState {
    Established,
    /// The handshake is not complete, so no process has accepted it.
    SynReceived,
    FinWait1,
    FinWait2,
    CloseWait,
    LastAck,
    Closing,
}

const CONNECTION_STATES: [(u8, TcpState); 7] = [
    (1, TcpState::Established),
    (3, TcpState::SynReceived),
    (4, TcpState::FinWait1),
    (5, TcpState::FinWait2),
    (8, TcpState::CloseWait),
    (9, TcpState::LastAck),
    (11, TcpState::Closing),
];
const LISTEN: u8 = 10;

/// One connection, seen from this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connection {
    /// IPv4 in IPv6 is written as IPv4 in both addresses.
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) state: TcpState,
    /// The inode of its file; 0 if it has none (not accepted yet, or closed already).
    pub(crate) inode: u64,
    /// Received bytes that no process has read.
    pub(crate) receive_queue: u32,
    /// Sent bytes that the other side has not acknowledged.
    pub(crate) send_queue: u32,
    /// Milliseconds since the last data went out; below, since the last data came in.
    pub(crate) last_sent_ms: u32,
    pub(crate) last_received_ms: u32,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
}

/// All connections to these local ports.
pub(crate) fn connections(local_ports: &[u16]) -> io::Result<Vec<Connection>> {
    let states = CONNECTION_STATES.iter().fold(0, |set, (number, _)| set | 1 << number);
    let mut found = Vec::new();
    let mut take = |message: &Message<'_>| {
        if local_ports.contains(&message.local_port()) {
            found.extend(message.connection());
        }
    };
    // Port 0 queries all ports.
    let ports = match local_ports {
        [] => return Ok(Vec::new()),
        ports if ports.len() <= PORTS_ASKED_SINGLY => ports,
        _ => &[0],
    };
    for port in ports {
        for family in [libc::AF_INET, libc::AF_INET6] {
            dump(family, *port, states, &mut take)?;
        }
    }
    Ok(found)
}

/// The sockets that listen on this port: address and inode.
pub(crate) fn listening(port: u16) -> io::Result<Vec<(SocketAddr, u64)>> {
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        dump(family, port, 1 << LISTEN, &mut |message| {
            if message.local_port() == port {
                found.extend(message.addresses().map(|(local, _)| (local, message.inode())));
            }
        })?;
    }
    Ok(found)
}

/// All TCP sockets that listen: address and inode.
pub(crate) fn all_listening() -> io::Result<Vec<(SocketAddr, u64)>> {
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        dump(family, 0, 1 << LISTEN, &mut |message| {
            found.extend(message.addresses().map(|(local, _)| (local, message.inode())));
        })?;
    }
    Ok(found)
}

fn dump(family: i32, port: u16, states: u32, take: &mut dyn FnMut(&Message<'_>)) -> io::Result<()> {
    let socket = netlink_socket()?;
    let request = request(family, port, states);
    if send(&socket, &request, SendFlags::empty())? != request.len() {
        return Err(io::Error::other("the kernel took only a part of a sock_diag request"));
    }
    let mut buffer = vec![0u8; BUFFER];
    let mut room = MOST_SOCKETS;
    loop {
        let received = match recv(&socket, buffer.as_mut_slice(), RecvFlags::TRUNC) {
            Err(rustix::io::Errno::INTR) => continue,
            // ENOBUFS, an overrun, is among these errors.
            result => result?.1,
        };
        let datagram = buffer.get(..received).ok_or_else(|| broken("a truncated message"))?;
        if take_datagram(datagram, &mut room, take)? {
            return Ok(());
        }
    }
}

fn netlink_socket() -> io::Result<OwnedFd> {
    let protocol = Some(Protocol::from(libc::NETLINK_SOCK_DIAG));
    let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, protocol)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(family: i32, port: u16, states: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + REQUEST);
    bytes.extend(((HEADER + REQUEST) as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    let extensions = 1 << (INET_DIAG_INFO - 1);
    bytes.extend([family as u8, libc::IPPROTO_TCP as u8, extensions, 0]);
    bytes.extend(states.to_ne_bytes());
    bytes.extend(port.to_be_bytes());
    bytes.resize(HEADER + REQUEST, 0);
    bytes
}

/// Reads one datagram. True if it was the last one.
fn take_datagram(
    mut rest: &[u8],
    room: &mut usize,
    take: &mut dyn FnMut(&Message<'_>),
) -> io::Result<bool> {
    while rest.len() >= HEADER {
        let len = word(rest, 0) as usize;
        let (kind, flags) = (half(rest, 4), half(rest, 6));
        let payload = rest.get(HEADER..len).ok_or_else(|| broken("a message of a wrong length"))?;
        if flags & NLM_F_DUMP_INTR != 0 {
            return Err(io::Error::new(
                io::ErrorKind::Interrupted,
                "the list of sockets changed while the kernel made it; ask again",
            ));
        }
        match kind {
            NLMSG_DONE | NLMSG_ERROR => {
                let code = payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                return if code < 0 { Err(io::Error::from_raw_os_error(-code)) } else { Ok(true) };
            }
            SOCK_DIAG_BY_FAMILY if payload.len() >= MESSAGE => {
                *room = room.checked_sub(1).ok_or_else(|| broken("more sockets than can be"))?;
                take(&Message(payload));
            }
            _ => return Err(broken("a message of an unknown kind")),
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("sock_diag sent {what}"))
}

/// `struct inet_diag_msg` and its attributes; at least `MESSAGE` bytes.
struct Message<'a>(&'a [u8]);

impl Message<'_> {
    fn local_port(&self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]])
    }

    fn inode(&self) -> u64 {
        u64::from(word(self.0, 68))
    }

    fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        let remote_port = u16::from_be_bytes([self.0[6], self.0[7]]);
        let scope = word(self.0, 40);
        let address = |at: usize, port: u16| {
            let long = self.0.get(at..at + 16)?.first_chunk::<16>()?;
            let short = long.first_chunk::<4>()?;
            let ip = match i32::from(self.0[0]) {
                libc::AF_INET => IpAddr::V4(Ipv4Addr::from(*short)),
                libc::AF_INET6 => Ipv6Addr::from(*long).to_canonical(),
                _ => return None,
            };
            Some(match ip {
                IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                    SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope))
                }
                ip => SocketAddr::new(ip, port),
            })
        };
        Some((address(8, self.local_port())?, address(24, remote_port)?))
    }

    fn connection(&self) -> Option<Connection> {
        let (_, state) = CONNECTION_STATES.into_iter().find(|(number, _)| *number == self.0[1])?;
        let (local, remote) = self.addresses()?;
        // `struct tcp_info`; older kernels have less of it, a handshake has none.
        let info = self.info().unwrap_or_default();
        let short = |at: usize| if info.len() >= at + 4 { word(info, at) } else { 0 };
        let long = |at: usize| {
            let bytes = info.get(at..).and_then(|rest| rest.first_chunk::<8>());
            bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
        };
        Some(Connection {
            local,
            remote,
            state,
            inode: self.inode(),
            receive_queue: word(self.0, 56),
            send_queue: word(self.0, 60),
            last_sent_ms: short(44),
            last_received_ms: short(52),
            bytes_received: long(128),
            bytes_sent: long(200),
        })
    }

    fn info(&self) -> Option<&[u8]> {
        let mut rest = &self.0[MESSAGE..];
        while rest.len() >= ATTRIBUTE {
            let len = usize::from(half(rest, 0));
            let value = rest.get(ATTRIBUTE..len)?;
            if half(rest, 2) == INET_DIAG_INFO {
                return Some(value);
            }
            rest = rest.get(len.next_multiple_of(4)..)?;
        }
        None
    }
}

/// The callers have checked the length.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::sys::socket;

    #[test]
    fn a_connection_from_queue_to_close() {
        for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let inode = socket::inode(listener.as_fd()).unwrap();
            let port = listener.local_addr().unwrap().port();
            let found = listening(port).unwrap();
            assert!(found.iter().any(|(_, found)| *found == inode), "{address}");
            let all = all_listening().unwrap();
            assert!(all.iter().any(|(at, found)| *found == inode && at.port() == port));
            assert_eq!(connections(&[port]).unwrap(), []);

            let host = if address.contains("::1") { "::1" } else { "127.0.0.1" };
            let mut client = TcpStream::connect((host, port)).unwrap();
            let [waiting] = connections(&[port, 1]).unwrap()[..] else { panic!("not one") };
            assert_eq!(waiting.inode, 0);
            assert_eq!(waiting.remote, client.local_addr().unwrap());
            assert_eq!(waiting.local, client.peer_addr().unwrap());

            let (mut server, _) = listener.accept().unwrap();
            client.write_all(b"hello").unwrap();
            // On loopback, the write delivers the data.
            let [asked] = connections(&[port, 1, 2, 3, 4, 5]).unwrap()[..] else { panic!() };
            assert_eq!(asked.inode, socket::inode(server.as_fd()).unwrap());
            assert_eq!((asked.receive_queue, asked.bytes_received), (5, 5));
            assert_eq!(asked.state, TcpState::Established);
            server.read_exact(&mut [0; 5]).unwrap();
            server.write_all(b"bye").unwrap();
            client.read_exact(&mut [0; 3]).unwrap();
            let [answered] = connections(&[port]).unwrap()[..] else { panic!("not one") };
            assert_eq!((answered.receive_queue, answered.bytes_sent), (0, 3));
            assert!(answered.last_sent_ms <= answered.last_received_ms);
            drop(client);
            // The end may take a moment on a busy machine.
            let patience = Instant::now() + Duration::from_secs(10);
            loop {
                let [closed] = connections(&[port]).unwrap()[..] else { panic!("not one") };
                if closed.state == TcpState::CloseWait {
                    break;
                }
                assert!(Instant::now() < patience, "{:?}", closed.state);
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn a_broken_answer_is_an_error_and_never_a_short_list() {
        let mut room = 1;
        let mut nothing = |_: &Message<'_>| {};
        let message = |kind: u16, flags: u16, payload: &[u8]| {
            let mut bytes = ((HEADER + payload.len()) as u32).to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(flags.to_ne_bytes());
            bytes.extend([0; 8]);
            bytes.extend(payload);
            bytes
        };
        let mut give = |bytes: &[u8]| take_datagram(bytes, &mut room, &mut nothing);
        assert!(give(&message(NLMSG_DONE, 0, &[0; 4])).unwrap());
        let overrun = (-libc::ENOBUFS).to_ne_bytes();
        let error = give(&message(NLMSG_DONE, 0, &overrun)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOBUFS));
        assert!(give(&message(NLMSG_ERROR, 0, &overrun)).is_err());
        assert!(give(&message(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP_INTR, &[0; 72])).is_err());
        assert!(give(&message(SOCK_DIAG_BY_FAMILY, 0, &[0; 20])).is_err());
        assert!(give(&message(SOCK_DIAG_BY_FAMILY, 0, &[0; 72])[..50]).is_err());
        assert!(!give(&message(SOCK_DIAG_BY_FAMILY, 0, &[0; 72])).unwrap());
        assert!(give(&message(SOCK_DIAG_BY_FAMILY, 0, &[0; 72])).is_err(), "over the limit");
    }
}
