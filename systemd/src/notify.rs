//! A service's state, both ends, as in sd_notify(3): datagrams of `KEY=VALUE` lines on the socket
//! that NOTIFY_SOCKET names.
//!
//! [`parse`] refuses a datagram above [`MAX_DATAGRAM`]. It returns lines that it does not
//! understand by their key, so that one strange line does not cost the others. Sending never waits
//! longer than [`SEND_TIMEOUT`].

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::str::FromStr;
use std::time::Duration;

use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr,
};

/// The largest datagram that is parsed, in bytes.
pub const MAX_DATAGRAM: usize = 16 * 1024;

/// How much of a status is kept, in bytes.
pub const MAX_STATUS: usize = 1024;

/// How long sending may take when the receiver's queue is full.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// How much of an unknown line is kept, in bytes.
const MAX_UNKNOWN: usize = 64;

/// One line of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assignment {
    /// READY=1: the service serves.
    Ready,
    /// STOPPING=1: the service is about to leave.
    Stopping,
    /// RELOADING=1: the service reads its configuration again; READY=1 follows.
    Reloading,
    /// STATUS=: the service's state as one line for display.
    Status(String),
    /// WATCHDOG=1: the service is alive.
    Watchdog,
    /// WATCHDOG=trigger: the service asks to be treated as if its watchdog had expired.
    WatchdogTrigger,
    /// WATCHDOG_USEC=: the service promises to send WATCHDOG=1 this often, in microseconds.
    WatchdogUsec(u64),
    /// EXTEND_TIMEOUT_USEC=: the service needs this much longer for its present step.
    ExtendTimeout(Duration),
    /// MAINPID=: another process is the service's main process.
    MainPid(u32),
    /// BARRIER=1: a descriptor comes along; the receiver closes it once it has read everything
    /// before.
    Barrier,
    /// ERRNO=: the service failed with this error.
    Errno(i32),
    /// An unknown key, or `KEY=VALUE` if the key is known and the value makes no sense. Shortened,
    /// without control characters.
    Unknown(String),
}

/// Why a datagram was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotifyError {
    /// Above [`MAX_DATAGRAM`].
    #[error("a notification of {0} bytes was refused: the limit is {MAX_DATAGRAM} bytes")]
    TooLong(usize),
}

/// All lines of one datagram, in order.
pub fn parse(bytes: &[u8]) -> Result<Vec<Assignment>, NotifyError> {
    if bytes.len() > MAX_DATAGRAM {
        return Err(NotifyError::TooLong(bytes.len()));
    }
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(assignment).collect())
}

fn assignment(line: &[u8]) -> Assignment {
    let line = String::from_utf8_lossy(line);
    let (key, value) = line.split_once('=').unwrap_or((&line, ""));
    let found = match (key, value) {
        ("READY", "1") => Some(Assignment::Ready),
        ("STOPPING", "1") => Some(Assignment::Stopping),
        ("RELOADING", "1") => Some(Assignment::Reloading),
        ("STATUS", text) => Some(Assignment::Status(plain(text, MAX_STATUS))),
        ("WATCHDOG", "1") => Some(Assignment::Watchdog),
        ("WATCHDOG", "trigger") => Some(Assignment::WatchdogTrigger),
        ("WATCHDOG_USEC", text) => number(text).map(Assignment::WatchdogUsec),
        ("EXTEND_TIMEOUT_USEC", text) => {
            number(text).map(|usec| Assignment::ExtendTimeout(Duration::from_micros(usec)))
        }
        ("MAINPID", text) => number(text).filter(|pid| *pid > 0).map(Assignment::MainPid),
        ("BARRIER", "1") => Some(Assignment::Barrier),
        ("ERRNO", text) => number(text).map(Assignment::Errno),
        _ => None,
    };
    // The value of an unknown key may be a secret. The value of a known key helps to find the
    // fault.
    found.unwrap_or_else(|| {
        Assignment::Unknown(plain(if known(key) { &line } else { key }, MAX_UNKNOWN))
    })
}

fn known(key: &str) -> bool {
    let keys = ["READY", "STOPPING", "RELOADING", "WATCHDOG", "WATCHDOG_USEC"];
    let more = ["EXTEND_TIMEOUT_USEC", "MAINPID", "BARRIER", "ERRNO"];
    keys.contains(&key) || more.contains(&key)
}

/// Parses digits only: Rust would also accept `+5`, which the protocol does not.
fn number<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// At most `most` bytes of the text, without characters that could move a terminal's cursor.
fn plain(text: &str, most: usize) -> String {
    let mut kept = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if kept.len() + c.len_utf8() > most {
            break;
        }
        kept.push(c);
    }
    kept
}

/// How often a service must send WATCHDOG=1, according to its environment. `None` if its manager
/// does not watch the process `own_pid`.
pub fn watchdog(vars: impl Fn(&str) -> Option<String>, own_pid: u32) -> Option<Duration> {
    let meant = vars("WATCHDOG_PID").is_none_or(|pid| pid.trim().parse() == Ok(own_pid));
    let usec = vars("WATCHDOG_USEC").and_then(|usec| number(usec.trim()));
    usec.filter(|usec| meant && *usec > 0).map(Duration::from_micros)
}

/// The sending end: talks to the service manager that started this process.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notifier {
    /// Opens the socket of NOTIFY_SOCKET; `None` if no manager asked for notifications.
    pub fn from_env() -> io::Result<Option<Self>> {
        match env::var_os("NOTIFY_SOCKET") {
            Some(name) if !name.is_empty() => Self::to(&name).map(Some),
            _ => Ok(None),
        }
    }

    /// Opens the socket `name`: an absolute path, or `@` and the name of an abstract socket.
    pub fn to(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            [b'@', rest @ ..] if !rest.is_empty() => SocketAddr::from_abstract_name(rest)?,
            _ => return Err(unsupported(name.to_owned())),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok(Self { socket, address })
    }

    /// Sends `text`: one or more `KEY=VALUE` lines.
    pub fn send(&self, text: &str) -> io::Result<()> {
        loop {
            match self.socket.send_to_addr(text.as_bytes(), &self.address) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                sent => {
                    debug_assert!(sent.as_ref().map_or(true, |count| *count == text.len()));
                    return sent.map(drop);
                }
            }
        }
    }
}

impl AsFd for Notifier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Notifier {
    /// Sends `text` with a descriptor (`FDSTORE=1`).
    pub fn send_with(&self, text: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
        let address = match (self.address.as_pathname(), self.address.as_abstract_name()) {
            (Some(path), _) => SocketAddrUnix::new(path)?,
            (None, Some(name)) => SocketAddrUnix::new_abstract_name(name)?,
            (None, None) => return Err(unsupported(OsString::new())),
        };
        let fds = [fd];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let parts = [IoSlice::new(text.as_bytes())];
        loop {
            let flags = SendFlags::NOSIGNAL;
            match sendmsg_addr(&self.socket, &address, &parts, &mut control, flags) {
                Err(rustix::io::Errno::INTR) => {}
                sent => return Ok(sent.map(drop)?),
            }
        }
    }
}

fn unsupported(name: OsString) -> io::Error {
    let reason = format!("NOTIFY_SOCKET is {name:?}: only an absolute path or @NAME is supported");
    io::Error::new(io::ErrorKind::Unsupported, reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn everything_that_can_be_said() {
        for (text, expected) in [
            ("READY=1", Assignment::Ready),
            ("STOPPING=1", Assignment::Stopping),
            ("RELOADING=1", Assignment::Reloading),
            ("STATUS=a=b \u{1b}[2Jc", Assignment::Status("a=b [2Jc".to_owned())),
            ("STATUS=", Assignment::Status(String::new())),
            ("WATCHDOG=1", Assignment::Watchdog),
            ("WATCHDOG=trigger", Assignment::WatchdogTrigger),
            ("WATCHDOG_USEC=20000000", Assignment::WatchdogUsec(20_000_000)),
            ("EXTEND_TIMEOUT_USEC=5000", Assignment::ExtendTimeout(Duration::from_millis(5))),
            ("MAINPID=12", Assignment::MainPid(12)),
            ("BARRIER=1", Assignment::Barrier),
            ("ERRNO=2", Assignment::Errno(2)),
            ("READY=0", Assignment::Unknown("READY=0".to_owned())),
            ("MAINPID=0", Assignment::Unknown("MAINPID=0".to_owned())),
            ("MAINPID=+1", Assignment::Unknown("MAINPID=+1".to_owned())),
            ("ERRNO=", Assignment::Unknown("ERRNO=".to_owned())),
            ("X_TOKEN=secret", Assignment::Unknown("X_TOKEN".to_owned())),
            ("hello", Assignment::Unknown("hello".to_owned())),
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(vec![expected]), "{text}");
        }
    }

    #[test]
    fn several_lines_and_bad_bytes() {
        assert_eq!(
            parse(b"READY=1\nMAINPID=x\n\nSTATUS=\xff!\n"),
            Ok(vec![
                Assignment::Ready,
                Assignment::Unknown("MAINPID=x".to_owned()),
                Assignment::Status("\u{fffd}!".to_owned()),
            ])
        );
        assert_eq!(parse(b""), Ok(vec![]));
    }

    #[test]
    fn bounds() {
        let long = format!("STATUS={}", "ä".repeat(2000));
        let Assignment::Status(kept) = parse(long.as_bytes()).unwrap().remove(0) else {
            panic!("not a status")
        };
        assert_eq!(kept.len(), MAX_STATUS);
        assert_eq!(
            parse(&vec![b'x'; MAX_DATAGRAM + 1]).unwrap_err().to_string(),
            "a notification of 16385 bytes was refused: the limit is 16384 bytes"
        );
    }

    #[test]
    fn what_is_said_is_heard() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        Notifier::to(path.as_os_str()).unwrap().send("READY=1\nSTATUS=here").unwrap();
        let mut bytes = [0; 64];
        let length = heard.recv(&mut bytes).unwrap();
        let expected = vec![Assignment::Ready, Assignment::Status("here".to_owned())];
        assert_eq!(parse(&bytes[..length]), Ok(expected));

        let name = format!("@systemd-notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name[1..]).unwrap();
        let heard = UnixDatagram::bind_addr(&address).unwrap();
        Notifier::to(OsStr::new(&name)).unwrap().send("STOPPING=1").unwrap();
        let length = heard.recv(&mut bytes).unwrap();
        assert_eq!(parse(&bytes[..length]), Ok(vec![Assignment::Stopping]));
    }

    #[test]
    fn the_watchdog_is_for_one_process() {
        let of = |pid: Option<&str>, usec: Option<&str>| {
            let vars = |key: &str| match key {
                "WATCHDOG_PID" => pid.map(str::to_owned),
                _ => usec.map(str::to_owned),
            };
            watchdog(vars, 7)
        };
        assert_eq!(of(Some("7"), Some("3000000")), Some(Duration::from_secs(3)));
        assert_eq!(of(None, Some("3000000")), Some(Duration::from_secs(3)));
        assert_eq!(of(Some("8"), Some("3000000")), None);
        assert_eq!(of(Some("7"), Some("0")), None);
        assert_eq!(of(Some("7"), Some("soon")), None);
        assert_eq!(of(Some("7"), None), None);
    }

    #[test]
    fn sockets_that_cannot_be_used() {
        for name in ["vsock:2:1234", "notify", "@"] {
            let error = Notifier::to(OsStr::new(name)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        }
        assert!(Notifier::to(OsStr::new("/gone/notify")).unwrap().send("READY=1").is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            for said in parse(&bytes).unwrap() {
                if let Assignment::Unknown(text) | Assignment::Status(text) = said {
                    prop_assert!(text.len() <= MAX_STATUS && !text.contains(char::is_control));
                }
            }
        }
    }
}
