//! Socket activation: listening sockets that the supervisor passes to this process (LISTEN_FDS), or
//! an ordinary bind if it passes none.
//!
//! Refuses a passed descriptor that is not a listening socket, taking a socket twice, and a name
//! that is neither the name of a passed socket nor an address.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::process;
use std::sync::{Mutex, OnceLock};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{getsockname, sockopt};
use systemd::listen;

use crate::descriptor;
use crate::sync::locked;

/// The sockets of this process. The first call fills it, so that no descriptor gets two owners.
static PASSED: OnceLock<Result<Mutex<Vec<Socket>>, String>> = OnceLock::new();

/// One passed socket.
#[derive(Debug)]
struct Socket {
    name: String,
    /// `None`: not a TCP socket.
    address: Option<SocketAddr>,
    /// `None`: the program has taken it.
    fd: Option<OwnedFd>,
}

/// The TCP listener of this name or address.
///
/// If the supervisor passed a socket of that name, or on that address, this returns it. Else the
/// argument must be an address (`8000`, `127.0.0.1:8000`, `[::]:8000`), and this binds it, so that
/// the program also serves when you run it by hand. Under a supervisor that intercepts `bind`, the
/// bound socket is the worker's own.
///
/// A program that calls this must not take the sockets of LISTEN_FDS by other means too, and must
/// not close descriptors by number before.
pub fn listener(name_or_address: &str) -> io::Result<TcpListener> {
    let passed = PASSED
        .get_or_init(|| inherited().map(Mutex::new).map_err(|error| error.to_string()))
        .as_ref()
        .map_err(|error| io::Error::new(ErrorKind::InvalidData, error.clone()))?;
    let mut sockets = locked(passed);
    if let Some(listener) = take(&mut sockets, name_or_address)? {
        return Ok(listener);
    }
    match address(name_or_address) {
        Some(address) => TcpListener::bind(address),
        None => Err(neither(&sockets, name_or_address)),
    }
}

/// Takes the passed socket of that name or address, if there is one.
fn take(sockets: &mut [Socket], wanted: &str) -> io::Result<Option<TcpListener>> {
    let on = address(wanted);
    let index = sockets
        .iter()
        .position(|socket| socket.name == wanted)
        .or_else(|| sockets.iter().position(|socket| on.is_some() && socket.address == on));
    let Some(socket) = index.map(|index| &mut sockets[index]) else { return Ok(None) };
    if socket.address.is_none() {
        let reason = format!("the passed socket {:?} is not a TCP socket", socket.name);
        return Err(io::Error::new(ErrorKind::InvalidInput, reason));
    }
    let Some(fd) = socket.fd.take() else {
        let reason = format!("the program has taken the passed socket {:?} already", socket.name);
        return Err(io::Error::new(ErrorKind::AlreadyExists, reason));
    };
    let listener = TcpListener::from(fd);
    listener.set_nonblocking(false)?;
    Ok(Some(listener))
}

fn neither(sockets: &[Socket], wanted: &str) -> io::Error {
    let names: Vec<_> = sockets.iter().map(|socket| socket.name.as_str()).collect();
    let passed = match names.as_slice() {
        [] => "the supervisor passed none".to_owned(),
        names => format!("passed are {}", names.join(", ")),
    };
    let reason =
        format!("{wanted:?} is neither an address nor the name of a passed socket ({passed})");
    io::Error::new(ErrorKind::InvalidInput, reason)
}

/// `PORT`, `:PORT`, `localhost:PORT` or a whole address.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = match text.strip_prefix("localhost:") {
        Some(port) => (Ipv4Addr::LOCALHOST, port),
        None => (Ipv4Addr::UNSPECIFIED, text.strip_prefix(':').unwrap_or(text)),
    };
    match port.parse() {
        Ok(port) => Some(SocketAddr::new(IpAddr::V4(ip), port)),
        Err(_) => text.parse().ok(),
    }
}

/// All sockets that were passed to this process.
fn inherited() -> io::Result<Vec<Socket>> {
    let passed = listen::taken_from_env(|key| std::env::var(key).ok(), process::id())
        .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    passed.into_iter().map(|(name, number)| socket(name, number)).collect()
}

fn socket(name: String, number: i32) -> io::Result<Socket> {
    let wrong = || {
        let reason = format!("the passed descriptor {number} ({name:?}) is not a listening socket");
        io::Error::new(ErrorKind::InvalidData, reason)
    };
    if !descriptor::is_open(number, "socket:") {
        return Err(wrong());
    }
    let fd = owned(number);
    if !sockopt::socket_acceptconn(&fd).unwrap_or(false) {
        // It was not passed to this client, so it is not the client's to close.
        let _ = fd.into_raw_fd();
        return Err(wrong());
    }
    // A program that this one starts must not keep the socket open.
    fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
    let address = SocketAddr::try_from(getsockname(&fd)?).ok();
    Ok(Socket { name, address, fd: Some(fd) })
}

#[expect(unsafe_code, reason = "an inherited descriptor is a bare number")]
fn owned(number: i32) -> OwnedFd {
    // SAFETY: /proc has just shown that the descriptor is an open socket. LISTEN_PID names this
    // process, so its parent left the descriptor for it to own. Nothing else owns it: this runs
    // once in the process, under `PASSED`, once for each number, and `listener` asks its callers
    // not to take passed descriptors by other means.
    unsafe { OwnedFd::from_raw_fd(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(name: &str) -> Socket {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().ok();
        Socket { name: name.to_owned(), address, fd: Some(listener.into()) }
    }

    #[test]
    fn a_passed_socket_is_taken_once() {
        let mut sockets = [passed("web"), passed("api")];
        let api = sockets[1].address.unwrap();
        let taken = take(&mut sockets, "api").unwrap().unwrap();
        assert_eq!(taken.local_addr().unwrap(), api);
        let again = take(&mut sockets, &api.to_string()).unwrap_err();
        assert_eq!(again.to_string(), r#"the program has taken the passed socket "api" already"#);
        let web = sockets[0].address.unwrap().to_string();
        assert!(take(&mut sockets, &web).unwrap().is_some());
        assert!(take(&mut sockets, "127.0.0.1:1").unwrap().is_none());
        assert_eq!(
            neither(&sockets, "zebra").to_string(),
            r#""zebra" is neither an address nor the name of a passed socket (passed are web, api)"#
        );
    }

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("8000", Some("0.0.0.0:8000")),
            (":8000", Some("0.0.0.0:8000")),
            ("localhost:80", Some("127.0.0.1:80")),
            ("[::]:80", Some("[::]:80")),
            ("web", None),
            ("::1", None),
        ] {
            assert_eq!(address(text).map(|address| address.to_string()).as_deref(), expected);
        }
    }

    #[test]
    fn a_descriptor_that_is_not_a_listening_socket_stays_open() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        let error = socket("x".to_owned(), number).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("the passed descriptor {number} (\"x\") is not a listening socket")
        );
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&datagrams);
        assert!(socket("x".to_owned(), number).is_err());
        datagrams.local_addr().unwrap();
        file.metadata().unwrap();
    }
}
