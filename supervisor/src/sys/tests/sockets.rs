//! Which sockets can share an address, queues, gates, unix sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::*;
use crate::sys::socket::{
    accept_queue, first_tcp, further_tcp, gate, listen, set_nonblocking, shared_tcp, traits_of,
    unix_listener,
};

const ADDRESSES: [(&str, Option<bool>); 3] =
    [("127.0.0.1:0", None), ("0.0.0.0:0", None), ("[::]:0", Some(false))];

fn at_port(address: &str, port: u16) -> SocketAddr {
    let mut address: SocketAddr = address.parse().unwrap();
    address.set_port(port);
    address
}

/// A socket as another program would open it.
fn foreign(address: SocketAddr, reuseport: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuseport)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn in_use<T: std::fmt::Debug>(result: std::io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::AddrInUse)
}

#[test]
fn an_address_somebody_listens_on_is_refused() {
    for (theirs, _) in ADDRESSES {
        for reuseport in [false, true] {
            let listener = foreign(theirs.parse().unwrap(), reuseport).unwrap();
            listener.listen(5).unwrap();
            let port = listener.local_addr().unwrap().as_socket().unwrap().port();
            for (ours, v6only) in ADDRESSES {
                let ours = at_port(ours, port);
                assert!(in_use(first_tcp(ours, v6only)), "{ours} beside {theirs} {reuseport}");
            }
            let own = at_port("[::]:0", port);
            let beside = first_tcp(own, Some(true));
            assert_eq!(in_use(beside), theirs.starts_with('['), "only IPv6 beside {theirs}");
        }
    }
}

#[test]
fn ours_can_join_ours() {
    for (address, v6only) in ADDRESSES {
        let first = first_tcp(address.parse().unwrap(), v6only).unwrap();
        let address = local(&first);
        let second = further_tcp(address, v6only).unwrap();
        listen(first.as_fd(), 5).unwrap();
        listen(second.as_fd(), 5).unwrap();
        let third = further_tcp(address, v6only).unwrap();
        listen(third.as_fd(), 5).unwrap();
        assert!(in_use(first_tcp(address, v6only)));
        assert!(in_use(shared_tcp(address)));
        TcpStream::connect(at_port("127.0.0.1:0", address.port())).unwrap();
    }
}

/// Ends a listening socket at once.
///
/// Other tests of this program start processes meanwhile. Until such a process executes its program
/// it has a copy of every socket here, so that a socket which is only closed goes on listening.
fn end(listener: impl AsFd) {
    SockRef::from(&listener).shutdown(Shutdown::Both).unwrap();
}

/// Leaves a connection of this port in TIME_WAIT at the listening side.
fn linger(listener: OwnedFd) {
    let port = local(&listener).port();
    let mut client = TcpStream::connect(at_port("127.0.0.1:0", port)).unwrap();
    let listener = TcpListener::from(listener);
    let (server, _) = listener.accept().unwrap();
    end(listener);
    drop(server);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn an_address_held_and_not_listened_on_is_held_alone() {
    for lingering in [None, Some(false), Some(true)] {
        for (address, v6only) in ADDRESSES {
            let mut address = address.parse().unwrap();
            if let Some(ours) = lingering {
                let before = if ours {
                    first_tcp(address, v6only).unwrap()
                } else {
                    foreign(address, false).unwrap().into()
                };
                address = local(&before);
                listen(before.as_fd(), 5).unwrap();
                linger(before);
            }
            let first = first_tcp(address, v6only).unwrap();
            let address = local(&first);
            let case = format!("{address}, lingering: {lingering:?}");
            // While another program's old connections linger on the port, no socket can hold it
            // alone.
            if lingering != Some(false) {
                for (other, v6only) in ADDRESSES {
                    let other = at_port(other, address.port());
                    assert!(in_use(first_tcp(other, v6only)), "{other} beside {case}");
                    assert!(in_use(foreign(other, false)), "{other} beside {case}");
                }
            }
            let further = further_tcp(address, v6only).unwrap();
            listen(first.as_fd(), 5).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert!(in_use(first_tcp(address, v6only)), "{case}");
            listen(further.as_fd(), 5).unwrap();
            end(further);
            linger(first);
            // And nothing is left that keeps the next socket from the address.
            drop(foreign(address, false).unwrap_or_else(|error| panic!("{case}: {error}")));
        }
    }
}

#[test]
fn the_queue_is_seen_and_the_gate_keeps_new_ones_out() {
    let socket = shared_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    listen(socket.as_fd(), 7).unwrap();
    let address = local(&socket);
    let queue = || accept_queue(socket.as_fd()).unwrap();
    assert_eq!((queue().waiting, queue().limit), (0, 7));
    let mut first = TcpStream::connect(address).unwrap();
    let second = TcpStream::connect(address).unwrap();
    assert_eq!(queue().waiting, 2);

    if let Err(error) = gate(socket.as_fd()) {
        // Newer kernels reserve filters on TCP sockets for privileged processes.
        assert!(!crate::sys::users::is_root() && error.kind() == ErrorKind::PermissionDenied);
        return;
    }
    let short = Duration::from_millis(300);
    let refused = TcpStream::connect_timeout(&address, short).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TimedOut);
    let listener = TcpListener::from(socket.try_clone().unwrap());
    let (mut server, _) = listener.accept().unwrap();
    first.write_all(b"ping").unwrap();
    server.read_exact(&mut [0; 4]).unwrap();
    server.write_all(b"pong").unwrap();
    first.read_exact(&mut [0; 4]).unwrap();
    assert_eq!(queue().waiting, 1);

    drop(second);
    let not_listening = first_tcp("127.0.0.1:0".parse().unwrap(), None).unwrap();
    assert_eq!(accept_queue(not_listening.as_fd()).unwrap().waiting, 0);
}

#[test]
fn unix_listeners_are_private_and_replace_only_the_dead() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let listener = unix_listener(&path, 0o600).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let _client = UnixStream::connect(&path).unwrap();
    assert!(in_use(unix_listener(&path, 0o600)));
    end(listener);
    let again = unix_listener(&path, 0o666).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    drop(again);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    assert!(in_use(unix_listener(&path, 0o600)));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn nonblocking_belongs_to_the_file_and_can_be_cleared() {
    let socket = shared_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let copy = socket.try_clone().unwrap();
    set_nonblocking(socket.as_fd(), true).unwrap();
    assert!(traits_of(copy.as_fd()).unwrap().nonblocking);
    set_nonblocking(copy.as_fd(), false).unwrap();
    assert!(!traits_of(socket.as_fd()).unwrap().nonblocking);
}
