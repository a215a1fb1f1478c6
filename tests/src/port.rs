//! Free ports, reserved over all test processes. They lie below the range from which the kernel
//! takes the ports of outgoing connections, so that no client of another test has one. A lock file
//! holds each port until its test ends.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::wait::wait_until;

const FIRST: u32 = 12_000;
const COUNT: u32 = 18_000;
const SOON: Duration = Duration::from_secs(20);

/// `TCP_TIME_WAIT` in `/proc/net/tcp`. It does not hinder a socket with SO_REUSEADDR.
const TIME_WAIT: &str = "06";

/// Where the next search of this process begins.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port that no other test uses.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Reserves one.
    pub fn new() -> Self {
        search(1, Self::reserve)
    }

    /// Reserves two with consecutive numbers.
    pub fn pair() -> (Self, Self) {
        search(2, |number| Some((Self::reserve(number)?, Self::reserve(number + 1)?)))
    }

    /// `None` if another test or a socket has it.
    fn reserve(number: u16) -> Option<Self> {
        // Shared by all checkouts of this user.
        let folder = format!("/tmp/supervisor-test-ports-{}", nix::unistd::getuid());
        let folder = Path::new(&folder);
        std::fs::create_dir_all(folder).expect("make the folder of port locks");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(number.to_string()))
            .expect("open a port lock");
        (lock.try_lock().is_ok() && is_free(number)).then_some(Self { number, _lock: lock })
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Waits until no socket has it. A socket that this process has closed lives on for a moment in
    /// children that other threads are just starting.
    pub fn wait_until_free(&self) {
        wait_until("the port to be free", SOON, || is_free(self.number).then_some(()));
    }

    /// 127.0.0.1 with this port.
    pub fn v4(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.number))
    }

    /// [::1] with this port.
    pub fn v6(&self) -> SocketAddr {
        SocketAddr::from((Ipv6Addr::LOCALHOST, self.number))
    }
}

impl Default for Port {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

/// Tries one number after the other, in steps of `width`.
fn search<T>(width: u32, reserve: impl Fn(u16) -> Option<T>) -> T {
    let found = (0..COUNT).find_map(|_| {
        let step = NEXT.fetch_add(width, Ordering::Relaxed);
        let number = FIRST + (std::process::id().wrapping_mul(97).wrapping_add(step)) % COUNT;
        reserve(u16::try_from(number).expect("below 65535"))
    });
    found.unwrap_or_else(|| panic!("no free port between {FIRST} and {}", FIRST + COUNT))
}

/// Whether no socket has it, on any address of either family. This only reads tables: a socket that
/// tried to bind would live on for a moment in a child that another thread is just starting.
fn is_free(number: u16) -> bool {
    let has_it = |row: &str| {
        let mut words = row.split_whitespace().skip(1);
        let port = words.next().and_then(|address| address.rsplit_once(':')).map(|(_, port)| port);
        let is_over = words.nth(1) == Some(TIME_WAIT);
        !is_over && port.and_then(|port| u16::from_str_radix(port, 16).ok()) == Some(number)
    };
    // A machine without IPv6 has two of them only.
    let tables = ["tcp", "tcp6", "udp", "udp6"].map(|table| format!("/proc/net/{table}"));
    let rows = tables.map(|table| std::fs::read_to_string(table).unwrap_or_default());
    !rows.iter().flat_map(|table| table.lines()).any(has_it)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn a_pair_has_consecutive_numbers_and_is_reserved() {
        let (first, second) = Port::pair();
        assert_eq!(first.number() + 1, second.number());
        assert!(Port::reserve(first.number()).is_none());
        assert!(Port::reserve(second.number()).is_none());
    }

    #[test]
    fn a_port_is_free_when_no_socket_has_it() {
        let port = Port::new();
        assert!(is_free(port.number()));
        for address in [port.v4(), port.v6()] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            assert!(!is_free(port.number()), "{address}");
            drop(listener);
            port.wait_until_free();
        }
        let socket = UdpSocket::bind(port.v4()).expect("bind");
        assert!(!is_free(port.number()));
        drop(socket);
        port.wait_until_free();
    }
}
