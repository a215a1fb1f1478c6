//! Steering programs on real groups: which socket gets a connection from which address.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

use socket2::{Domain, Socket, Type};

use super::*;
use crate::sys::reuseport::attach;
use crate::sys::socket::{accept_queue, first_tcp, further_tcp, listen, set_nonblocking};
use crate::sys::steering_code::{Steering, compile};
use crate::sys::trap::Trap;

fn socket(fd: OwnedFd) -> TcpListener {
    set_nonblocking(fd.as_fd(), true).unwrap();
    TcpListener::from(fd)
}

/// A group of `count` listening sockets, steered before the second one listened.
fn group(address: &str, count: usize, steering: Steering<'_>) -> Vec<TcpListener> {
    let first = first_tcp(address.parse().unwrap(), Some(false)).unwrap();
    listen(first.as_fd(), 500).unwrap();
    attach(first.as_fd(), &compile(steering)).unwrap();
    let address = local(&first);
    let mut sockets = vec![first];
    for _ in 1..count {
        let further = further_tcp(address, Some(false)).unwrap();
        listen(further.as_fd(), 500).unwrap();
        sockets.push(further);
    }
    sockets.into_iter().map(socket).collect()
}

fn connect(source: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    if source.is_ipv6() {
        // The whole network is local; its addresses are not configured one by one.
        socket.set_freebind_v6(true).unwrap();
    }
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

/// Which socket of the group has the one waiting connection.
fn taker(group: &[TcpListener]) -> usize {
    let mut takers = (0..group.len()).filter(|index| group[*index].accept().is_ok());
    let taker = takers.next().unwrap();
    assert_eq!(takers.next(), None);
    taker
}

fn waiting(group: &[TcpListener]) -> Vec<u32> {
    group.iter().map(|socket| accept_queue(socket.as_fd()).unwrap().waiting).collect()
}

#[test]
fn index_is_the_order_of_listening_and_a_new_program_takes_over_at_once() {
    // Bound in one order, listening in another.
    let first = first_tcp("127.0.0.1:0".parse().unwrap(), None).unwrap();
    assert!(attach(first.as_fd(), &compile(Steering::Even(&[0]))).is_err(), "not listening");
    let address = local(&first);
    let second = further_tcp(address, None).unwrap();
    let third = further_tcp(address, None).unwrap();
    let group = [third, first, second];
    for fd in &group {
        listen(fd.as_fd(), 100).unwrap();
    }
    let group = group.map(socket);
    let mut clients = Vec::new();
    for target in [0, 2, 1, 0] {
        attach(group[0].as_fd(), &compile(Steering::Even(&[target]))).unwrap();
        for _ in 0..5 {
            clients.push(TcpStream::connect(address).unwrap());
        }
    }
    // Connections queued under an earlier program stayed where they were.
    assert_eq!(waiting(&group), [10, 5, 5]);
}

#[test]
fn even_is_roughly_even_and_leaves_the_others_alone() {
    let group = group("127.0.0.1:0", 4, Steering::Even(&[0, 2, 3]));
    let address = group[0].local_addr().unwrap();
    let clients: Vec<_> = (0..300).map(|_| TcpStream::connect(address).unwrap()).collect();
    let counts = waiting(&group);
    assert_eq!(counts[1], 0);
    assert_eq!(counts.iter().sum::<u32>() as usize, clients.len());
    assert!(counts.iter().all(|count| *count == 0 || (60..140).contains(count)), "{counts:?}");
}

#[test]
fn a_source_keeps_its_socket_and_sources_spread() {
    let buckets: [u32; 256] = std::array::from_fn(|bucket| bucket as u32 % 3);
    // The same clients over IPv4 to an IPv4 and to a dual-stack socket go to the same index.
    let steering = Steering::BySource { seed: 0xfeed, buckets: &buckets };
    let short = group("127.0.0.1:0", 3, steering);
    let dual = group("[::]:0", 3, steering);
    let to_short = short[0].local_addr().unwrap();
    let to_dual = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), dual[0].local_addr().unwrap().port());
    let mut seen = [0; 3];
    for host in 0..60u8 {
        let source = IpAddr::from([127, 0, host, host.wrapping_mul(7) | 1]);
        let home = {
            let _client = connect(source, to_short);
            taker(&short)
        };
        for _ in 0..3 {
            let _client = connect(source, to_short);
            assert_eq!(taker(&short), home);
        }
        let _client = connect(source, to_dual);
        assert_eq!(taker(&dual), home);
        seen[home] += 1;
    }
    assert!(seen.iter().all(|count| *count >= 8), "{seen:?}");

    // All buckets go to one socket: every client moves.
    attach(short[0].as_fd(), &compile(Steering::BySource { seed: 1, buckets: &[1; 256] })).unwrap();
    for host in 1..20u8 {
        let _client = connect(IpAddr::from([127, 0, 0, host]), to_short);
        assert_eq!(taker(&short), 1);
    }
}

#[test]
fn ipv6_is_by_the_first_64_bits() {
    let buckets: [u32; 256] = std::array::from_fn(|bucket| bucket as u32 % 3);
    let steering = Steering::BySource { seed: 5, buckets: &buckets };
    let loopback = group("[::1]:0", 3, steering);
    let to = loopback[0].local_addr().unwrap();
    let homes: HashSet<_> = (0..6)
        .map(|_| {
            let _client = connect("::1".parse().unwrap(), to);
            taker(&loopback)
        })
        .collect();
    assert_eq!(homes.len(), 1);

    if !crate::sys::users::is_root() {
        return;
    }
    // More addresses than ::1, in a network namespace that ends with this thread.
    std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let ip = |words: &str| {
            let status = Command::new("ip").args(words.split(' ')).status();
            status.is_ok_and(|status| status.success())
        };
        if !ip("link set lo up") || !ip("-6 route add local fd00::/16 dev lo") {
            return;
        }
        let buckets: [u32; 256] = std::array::from_fn(|bucket| bucket as u32 % 3);
        let group = group("[::]:0", 3, Steering::BySource { seed: 5, buckets: &buckets });
        let port = group[0].local_addr().unwrap().port();
        let to = SocketAddr::new("fd00::1".parse().unwrap(), port);
        let mut seen = HashSet::new();
        for net in 0..12 {
            let from = |host: &str| {
                let _client = connect(format!("fd00:0:0:{net:x}::{host}").parse().unwrap(), to);
                taker(&group)
            };
            let home = from("1");
            assert_eq!(from("2"), home);
            assert_eq!(from("bbbb:cccc:dddd"), home);
            seen.insert(home);
        }
        assert_eq!(seen.len(), 3);
    })
    .join()
    .unwrap();
}

#[test]
fn an_index_nobody_has_means_the_kernels_own_choice() {
    let group = group("127.0.0.1:0", 3, Steering::Even(&[]));
    let address = group[0].local_addr().unwrap();
    let _clients: Vec<_> = (0..90).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert!(waiting(&group).iter().all(|count| *count > 5));
}

#[test]
fn a_trap_lets_nobody_in_and_keeps_who_is_in() {
    for address in ["127.0.0.1:0", "[::]:0"] {
        let group = group(address, 2, Steering::Even(&[0, 1]));
        let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), group[0].local_addr().unwrap().port());
        let inside: Vec<_> = (0..20).map(|_| TcpStream::connect(to).unwrap()).collect();
        let before = waiting(&group);
        let trap = Trap::set(group[0].as_fd(), 2).unwrap();
        for _ in 0..3 {
            let short = Duration::from_millis(100);
            let refused = TcpStream::connect_timeout(&to, short).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::TimedOut);
        }
        assert_eq!(waiting(&group), before);
        let (mut server, _) = group[0].accept().unwrap();
        let mut client = inside
            .iter()
            .find(|client| client.local_addr().unwrap() == canonical(server.peer_addr().unwrap()))
            .unwrap();
        std::io::Write::write_all(&mut server, b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        // The group accepts connections again.
        attach(group[0].as_fd(), &compile(Steering::Even(&[0]))).unwrap();
        TcpStream::connect(to).unwrap();
        drop(trap);
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
