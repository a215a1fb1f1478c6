//! Free ports, reserved over all test processes: below the range from which the kernel takes the
//! ports of outgoing connections, so that no client of another test sits on one, and held by a
//! lock file as long as the test runs.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 12_000;
const COUNT: u32 = 18_000;

/// Where this process goes on looking.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port that is this test's alone.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Reserves one.
    pub fn new() -> Self {
        // Shared by all checkouts of this user.
        let folder = format!("/tmp/supervisor-test-ports-{}", nix::unistd::getuid());
        let folder = Path::new(&folder);
        std::fs::create_dir_all(folder).expect("make the folder of port locks");
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = FIRST + (std::process::id().wrapping_mul(97).wrapping_add(step)) % COUNT;
            let number = u16::try_from(number).expect("below 65536");
            let lock = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(folder.join(number.to_string()))
                .expect("open a port lock");
            if lock.try_lock().is_ok() && is_free(number) {
                return Self { number, _lock: lock };
            }
        }
        panic!("no free port between {FIRST} and {}", FIRST + COUNT);
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
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

/// Whether nobody listens on it, on any address of either family.
fn is_free(number: u16) -> bool {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, number)) {
        Ok(_) => true,
        Err(e) if e.kind() == ErrorKind::AddrInUse => false,
        // A machine without IPv6.
        Err(_) => TcpListener::bind(("0.0.0.0", number)).is_ok(),
    }
}
