//! One HTTP/1.1 connection of the strict client. It sends a request and checks the answer to its
//! last byte, within a time limit. Everything that can go wrong is a kind of fault.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::wait::uninterrupted;

/// The longest head or body, in bytes. No fixture sends more.
const LONGEST: usize = 1 << 20;

/// What went wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The connection was refused.
    Refused,
    /// The connection was reset, or the request could not be written.
    Reset,
    /// The answer ended before its end.
    Truncated,
    /// A new connection ended before any byte of an answer.
    Empty,
    /// A connection that had served a request ended before any byte of the next answer.
    ClosedIdle,
    /// No complete answer within the limit.
    Hung,
    /// A wrong answer.
    Bad,
    /// This machine had no port left for one more client. The server is not to blame.
    NoPort,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its kind.
    pub kind: FaultKind,
    /// The details.
    pub text: String,
}

/// A complete and correct answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its body.
    pub body: String,
    /// Whether the server closes the connection after it.
    pub closes: bool,
}

impl Answer {
    /// The value of `KEY=value` in the body.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.body
            .split_ascii_whitespace()
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    /// The pid in the body.
    pub fn pid(&self) -> Option<u32> {
        self.value("pid")?.parse().ok()
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    used: bool,
    hang: Duration,
}

impl Connection {
    /// Connects.
    pub fn open(address: SocketAddr, hang: Duration) -> Result<Self, Fault> {
        let stream =
            TcpStream::connect_timeout(&address, hang).map_err(|e| fault("connect", &e))?;
        Self::on(stream, hang)
    }

    /// Connects from this address of the machine.
    pub fn open_from(own: IpAddr, address: SocketAddr, hang: Duration) -> Result<Self, Fault> {
        let connect = || -> io::Result<TcpStream> {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            socket.bind(&SocketAddr::new(own, 0).into())?;
            socket.connect_timeout(&address.into(), hang)?;
            Ok(socket.into())
        };
        Self::on(connect().map_err(|e| fault("connect", &e))?, hang)
    }

    fn on(stream: TcpStream, hang: Duration) -> Result<Self, Fault> {
        stream.set_nodelay(true).map_err(|e| fault("set up a connection", &e))?;
        Ok(Self { stream, used: false, hang })
    }

    /// Sends one request and reads its answer.
    pub fn get(&mut self, path: &str, last: bool) -> Result<Answer, Fault> {
        let end = Instant::now() + self.hang;
        let reused = std::mem::replace(&mut self.used, true);
        let close = if last { "close" } else { "keep-alive" };
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {close}\r\n\r\n");
        self.stream.set_write_timeout(Some(self.hang)).map_err(|e| fault("set up", &e))?;
        self.stream.write_all(request.as_bytes()).map_err(|e| fault("send a request", &e))?;
        let mut incoming = Incoming { stream: &mut self.stream, end, bytes: Vec::new(), reused };
        let head = incoming.head()?;
        let body = incoming.body(&head)?;
        if head.status != 200 {
            return Err(Fault::new(FaultKind::Bad, format!("status {}: {body}", head.status)));
        }
        Ok(Answer { body, closes: head.closes || last })
    }
}

/// Sends one request over a connection of its own.
pub fn get(address: SocketAddr, hang: Duration) -> Result<Answer, Fault> {
    Connection::open(address, hang)?.get("/", true)
}

struct Head {
    status: u16,
    closes: bool,
    length: Option<usize>,
    chunked: bool,
}

struct Incoming<'a> {
    stream: &'a mut TcpStream,
    end: Instant,
    /// Bytes that are read and not yet used.
    bytes: Vec<u8>,
    reused: bool,
}

impl Incoming<'_> {
    /// Reads more. `false` if the server has closed the connection.
    fn more(&mut self) -> Result<bool, Fault> {
        if self.bytes.len() > LONGEST {
            return Err(Fault::new(FaultKind::Bad, "an endless answer"));
        }
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Fault::new(FaultKind::Hung, "no complete answer in time"));
        }
        self.stream.set_read_timeout(Some(left)).map_err(|e| fault("set up", &e))?;
        let mut bytes = [0; 4096];
        let read = uninterrupted(|| self.stream.read(&mut bytes));
        let n = read.map_err(|e| fault("read the answer", &e))?;
        self.bytes.extend_from_slice(&bytes[..n]);
        Ok(n > 0)
    }

    /// Takes everything before `mark`, and drops `mark`.
    fn until(&mut self, mark: &[u8]) -> Result<Vec<u8>, Fault> {
        loop {
            if let Some(at) = self.bytes.windows(mark.len()).position(|w| w == mark) {
                let found = self.bytes.drain(..at + mark.len()).take(at).collect();
                return Ok(found);
            }
            if !self.more()? {
                return Err(self.ended());
            }
        }
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Fault> {
        while self.bytes.len() < length {
            if !self.more()? {
                let text = format!("{} of {length} bytes", self.bytes.len());
                return Err(Fault::new(FaultKind::Truncated, text));
            }
        }
        Ok(self.bytes.drain(..length).collect())
    }

    fn ended(&self) -> Fault {
        match (self.bytes.is_empty(), self.reused) {
            (true, false) => Fault::new(FaultKind::Empty, "ended before any byte"),
            (true, true) => Fault::new(FaultKind::ClosedIdle, "ended between two requests"),
            (false, _) => Fault::new(FaultKind::Truncated, "ended within the answer"),
        }
    }

    fn head(&mut self) -> Result<Head, Fault> {
        let head = String::from_utf8_lossy(&self.until(b"\r\n\r\n")?).to_ascii_lowercase();
        // From here on, the end of the connection truncates an answer.
        self.reused = false;
        let bad = || Fault::new(FaultKind::Bad, format!("an invalid head: {head}"));
        let mut lines = head.split("\r\n");
        let mut first = lines.next().ok_or_else(bad)?.split(' ');
        let version = first.next().ok_or_else(bad)?;
        let status = first.next().and_then(|s| s.parse().ok()).ok_or_else(bad)?;
        let mut head = Head { status, closes: version != "http/1.1", length: None, chunked: false };
        for line in lines {
            match line.split_once(':').map(|(name, value)| (name, value.trim())) {
                Some(("content-length", value)) => head.length = value.parse().ok(),
                Some(("transfer-encoding", value)) => head.chunked = value == "chunked",
                Some(("connection", value)) => head.closes = value == "close",
                _ => {}
            }
        }
        Ok(head)
    }

    fn body(&mut self, head: &Head) -> Result<String, Fault> {
        let bytes = if head.chunked {
            self.chunks()?
        } else if let Some(length) = head.length {
            self.exactly(length)?
        } else if head.closes {
            while self.more()? {}
            std::mem::take(&mut self.bytes)
        } else {
            return Err(Fault::new(FaultKind::Bad, "an answer without a length"));
        };
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn chunks(&mut self) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::new();
        loop {
            let size = match self.until(b"\r\n") {
                Err(f) if f.kind == FaultKind::Empty => {
                    return Err(Fault::new(FaultKind::Truncated, "ended between two chunks"));
                }
                size => String::from_utf8_lossy(&size?).into_owned(),
            };
            let size = usize::from_str_radix(size.trim(), 16).map_err(|_| {
                Fault::new(FaultKind::Bad, format!("an invalid chunk size {size:?}"))
            })?;
            body.extend(self.exactly(size)?);
            self.exactly(2)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
}

impl Fault {
    fn new(kind: FaultKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.text)
    }
}

fn fault(what: &str, error: &io::Error) -> Fault {
    use io::ErrorKind as E;
    let kind = match error.kind() {
        E::ConnectionRefused => FaultKind::Refused,
        E::ConnectionReset | E::BrokenPipe | E::ConnectionAborted | E::NotConnected => {
            FaultKind::Reset
        }
        E::TimedOut | E::WouldBlock => FaultKind::Hung,
        E::AddrNotAvailable => FaultKind::NoPort,
        _ => FaultKind::Bad,
    };
    Fault::new(kind, format!("{what}: {error}"))
}
