//! One connection of the strict client. It sends requests, and reads every answer to its last byte
//! within a time limit. Anything but a complete and correct answer is a kind of loss.
//!
//! A server may close a kept connection while a request is on its way to it. If it has not read
//! that request, an HTTP client sends it again (RFC 9112, section 9.3.1). The kernel tells the two
//! cases apart: a request that meets a closed socket is answered with a reset.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};

use super::kind::Kind;
use crate::cli::output::pause;
use crate::sys::poll::poll;

/// Bytes of a head. Longer ones are wrong.
const LONGEST_HEAD: usize = 256 * 1024;
/// Bytes of a body. Longer ones are wrong.
const LONGEST_BODY: u64 = 1 << 30;
/// Headers of an answer. More are wrong.
const MOST_HEADERS: usize = 256;
/// How long the reset of a request that met a closed socket may take. On loopback it is there
/// before the call that sent the request returns.
const RESET_TAKES: Duration = Duration::from_millis(50);
/// A slow reader reads this much, pauses, and reads on; after this many pauses it hurries.
const SIP: usize = 512;
const SIP_PAUSE: Duration = Duration::from_millis(20);
const SIPS: u32 = 25;

/// A request that got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fail {
    Lost(Kind, String),
    /// The server closed the connection before it read the request: it may be sent again.
    Unread,
    /// This machine has no port or descriptor for one more client. The server is not to blame.
    NoRoom(String),
}

/// A complete answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether the server ends the connection after it.
    pub(crate) closes: bool,
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// The client's end.
    pub(crate) client: SocketAddr,
    /// Answers so far.
    answers: u32,
    limit: Duration,
    end: Instant,
    /// Bytes that are read and not used yet.
    bytes: Vec<u8>,
    /// How often a slow reader pauses before it goes on.
    sips: u32,
}

impl Connection {
    /// Connects. `limit` is for this, and later for each request.
    pub(crate) fn open(address: SocketAddr, limit: Duration) -> Result<Self, Fail> {
        let end = Instant::now() + limit;
        let stream = TcpStream::connect_timeout(&address, limit).map_err(|e| not_connected(&e))?;
        let ready = |e: &io::Error| failed("set up a connection", e);
        stream.set_nodelay(true).map_err(|e| ready(&e))?;
        let client = stream.local_addr().map_err(|e| ready(&e))?;
        Ok(Self { stream, client, answers: 0, limit, end, bytes: Vec::new(), sips: 0 })
    }

    /// Whether the server has closed the connection already: then a client opens another one.
    pub(crate) fn is_closed(&self) -> bool {
        let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
        self.bytes.is_empty() && poll(&mut fds, Some(Duration::ZERO)).is_ok_and(|count| count > 0)
    }

    /// Reads the next answers late and slowly.
    pub(crate) fn read_slowly(&mut self) {
        self.sips = SIPS;
    }

    /// Sends bytes. The time limit begins.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Fail> {
        self.end = Instant::now() + self.limit;
        let sent = self
            .stream
            .set_write_timeout(Some(self.limit))
            .and_then(|()| self.stream.write_all(bytes));
        sent.map_err(|error| self.broken("send a request", &error))
    }

    /// Reads one answer.
    pub(crate) fn answer(&mut self) -> Result<Answer, Fail> {
        loop {
            let head = self.head()?;
            match head.status {
                101 => return Ok(Answer { status: 101, closes: false }),
                100..200 => continue,
                _ => {}
            }
            self.body(&head)?;
            self.answers += 1;
            return Ok(Answer { status: head.status, closes: head.closes });
        }
    }

    /// Holds the connection for `span`. Fails if the server breaks it.
    pub(crate) fn hold(&mut self, span: Duration) -> Result<(), Fail> {
        self.end = Instant::now() + span;
        loop {
            match self.more() {
                Ok(true) => self.bytes.clear(),
                Ok(false) => {
                    return Err(Fail::Lost(Kind::Truncated, "the server closed it".to_owned()));
                }
                Err(Fail::Lost(Kind::Hung, _)) => return Ok(()),
                Err(other) => return Err(other),
            }
        }
    }

    /// Takes exactly this many bytes.
    pub(crate) fn exactly(&mut self, count: usize) -> Result<Vec<u8>, Fail> {
        while self.bytes.len() < count {
            if !self.more()? {
                let text = format!("{} of {count} bytes", self.bytes.len());
                return Err(Fail::Lost(Kind::Truncated, text));
            }
        }
        Ok(self.bytes.drain(..count).collect())
    }

    /// Reads more. `false`: the server has closed the connection.
    fn more(&mut self) -> Result<bool, Fail> {
        if self.sips > 0 {
            self.sips -= 1;
            pause(SIP_PAUSE);
        }
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Fail::Lost(Kind::Hung, "no complete answer in time".to_owned()));
        }
        let mut bytes = [0; 16 * 1024];
        let room = if self.sips > 0 { SIP } else { bytes.len() };
        let read = self
            .stream
            .set_read_timeout(Some(left))
            .and_then(|()| self.stream.read(&mut bytes[..room]));
        match read {
            Ok(count) => {
                self.bytes.extend_from_slice(&bytes[..count]);
                Ok(count > 0)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(self.broken("read the answer", &error)),
        }
    }

    /// What an error means.
    fn broken(&self, what: &str, error: &io::Error) -> Fail {
        let is_reset =
            matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe);
        match is_reset && self.answers > 0 && self.bytes.is_empty() {
            // The server's kernel sends a reset only if the server left data unread.
            true => Fail::Unread,
            false => failed(what, error),
        }
    }

    /// What it means that the connection ended before any byte of an answer.
    fn ended(&self) -> Fail {
        if self.answers > 0 && self.was_reset() {
            return Fail::Unread;
        }
        Fail::Lost(Kind::Truncated, "closed before any byte of the answer".to_owned())
    }

    /// Whether the request met a closed socket, so that a reset followed the end.
    fn was_reset(&self) -> bool {
        let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::empty())];
        poll(&mut fds, Some(RESET_TAKES)).is_ok_and(|count| count > 0)
    }

    fn head(&mut self) -> Result<Head, Fail> {
        loop {
            if let Some((head, length)) = parse(&self.bytes)? {
                self.bytes.drain(..length);
                return Ok(head);
            }
            if self.bytes.len() > LONGEST_HEAD {
                return Err(wrong("an endless head"));
            }
            if !self.more()? {
                return Err(match self.bytes.is_empty() {
                    true => self.ended(),
                    false => Fail::Lost(Kind::Truncated, "ended within the head".to_owned()),
                });
            }
        }
    }

    fn body(&mut self, head: &Head) -> Result<(), Fail> {
        match head.body {
            Body::None => Ok(()),
            Body::Length(length) => self.skip(length),
            Body::Chunks => self.chunks(),
            Body::UntilEnd => {
                let mut read = 0;
                while read <= LONGEST_BODY {
                    read += self.bytes.len() as u64;
                    self.bytes.clear();
                    if !self.more()? {
                        return Ok(());
                    }
                }
                Err(wrong("an endless body"))
            }
        }
    }

    /// Passes over this many bytes.
    fn skip(&mut self, length: u64) -> Result<(), Fail> {
        let mut left = length;
        loop {
            let step = usize::try_from(left).map_or(self.bytes.len(), |l| l.min(self.bytes.len()));
            self.bytes.drain(..step);
            left -= step as u64;
            if left == 0 {
                return Ok(());
            }
            if !self.more()? {
                let text = format!("{} of {length} bytes of the body", length - left);
                return Err(Fail::Lost(Kind::Truncated, text));
            }
        }
    }

    fn chunks(&mut self) -> Result<(), Fail> {
        let mut total: u64 = 0;
        loop {
            let (at, size) = match httparse::parse_chunk_size(&self.bytes) {
                Ok(httparse::Status::Complete(found)) => found,
                Ok(httparse::Status::Partial) => {
                    if !self.more()? {
                        let text = "ended between two chunks".to_owned();
                        return Err(Fail::Lost(Kind::Truncated, text));
                    }
                    continue;
                }
                Err(_) => return Err(wrong("an invalid chunk size")),
            };
            self.bytes.drain(..at);
            if size == 0 {
                return self.trailers();
            }
            total = total.saturating_add(size);
            if total > LONGEST_BODY {
                return Err(wrong("an endless body"));
            }
            self.skip(size + 2)?;
        }
    }

    /// Reads trailers up to the empty line.
    fn trailers(&mut self) -> Result<(), Fail> {
        loop {
            if let Some(end) = self.bytes.windows(2).position(|pair| pair == b"\r\n") {
                self.bytes.drain(..end + 2);
                if end == 0 {
                    return Ok(());
                }
            } else if self.bytes.len() > LONGEST_HEAD {
                return Err(wrong("endless trailers"));
            } else if !self.more()? {
                let text = "ended within the last chunk".to_owned();
                return Err(Fail::Lost(Kind::Truncated, text));
            }
        }
    }
}

/// What the head of an answer says of its body and its connection.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    closes: bool,
    body: Body,
}

#[derive(Debug, PartialEq, Eq)]
enum Body {
    None,
    Length(u64),
    Chunks,
    /// The end of the connection is the end of the body.
    UntilEnd,
}

/// Reads a head from the beginning of `bytes`, and its length. `None`: it is not complete.
fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Fail> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(wrong(&format!("no HTTP: {error}"))),
    };
    let status = response.code.unwrap_or(0);
    let value = |name: &str| {
        let found = response.headers.iter().find(|one| one.name.eq_ignore_ascii_case(name));
        found.map(|header| String::from_utf8_lossy(header.value).to_ascii_lowercase())
    };
    let connection = value("connection").unwrap_or_default();
    let says = |word: &str| connection.split(',').any(|one| one.trim() == word);
    let mut closes = says("close") || (response.version == Some(0) && !says("keep-alive"));
    let body = if matches!(status, 100..200 | 204 | 304) {
        Body::None
    } else if value("transfer-encoding").is_some_and(|text| text.ends_with("chunked")) {
        Body::Chunks
    } else if let Some(text) = value("content-length") {
        let length = text.trim().parse().ok().filter(|length| *length <= LONGEST_BODY);
        Body::Length(length.ok_or_else(|| wrong("an invalid content-length"))?)
    } else {
        closes = true;
        Body::UntilEnd
    };
    Ok(Some((Head { status, closes, body }, length)))
}

/// An answer that is no good.
pub(crate) fn wrong(text: &str) -> Fail {
    Fail::Lost(Kind::Wrong, text.to_owned())
}

/// What an error of a socket means.
fn failed(what: &str, error: &io::Error) -> Fail {
    use io::ErrorKind as E;
    let text = format!("cannot {what}: {error}");
    match error.kind() {
        E::ConnectionRefused => Fail::Lost(Kind::Refused, text),
        E::ConnectionReset | E::BrokenPipe | E::ConnectionAborted | E::NotConnected => {
            Fail::Lost(Kind::Reset, text)
        }
        E::TimedOut | E::WouldBlock => Fail::Lost(Kind::Hung, text),
        _ if has_no_room(error) => Fail::NoRoom(text),
        // Whatever it is, the request has no answer.
        _ => Fail::Lost(Kind::Reset, text),
    }
}

/// What it means that no connection was made.
fn not_connected(error: &io::Error) -> Fail {
    match failed("connect", error) {
        // Such as "no route to host": the client reached no server.
        Fail::Lost(Kind::Reset, text) if error.kind() != io::ErrorKind::ConnectionReset => {
            Fail::Lost(Kind::Refused, text)
        }
        other => other,
    }
}

/// Whether this machine lacks what one more client needs.
fn has_no_room(error: &io::Error) -> bool {
    let lacks = [
        libc::EMFILE,
        libc::ENFILE,
        libc::EADDRNOTAVAIL,
        libc::EADDRINUSE,
        libc::ENOBUFS,
        libc::ENOMEM,
        libc::EAGAIN,
    ];
    error.raw_os_error().is_some_and(|number| lacks.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Shutdown, TcpListener};

    const LIMIT: Duration = Duration::from_millis(500);
    const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    /// A connection to a server that reads `reads` requests and then does `act`.
    fn pair(reads: usize, act: impl FnOnce(TcpStream)) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = Connection::open(listener.local_addr().unwrap(), LIMIT).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        for _ in 0..reads {
            client.send(ASK).unwrap();
            let mut bytes = vec![0; ASK.len()];
            server.read_exact(&mut bytes).unwrap();
        }
        act(server);
        client
    }

    fn one(answer: &'static [u8]) -> Result<Answer, Fail> {
        pair(1, |mut server| server.write_all(answer).unwrap()).answer()
    }

    #[test]
    fn complete_answers() {
        let good = |closes| Ok(Answer { status: 200, closes });
        assert_eq!(one(GOOD), good(false));
        assert_eq!(
            one(b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n"),
            good(true)
        );
        assert_eq!(one(b"HTTP/1.0 200 OK\r\n\r\nuntil the end"), good(true));
        let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(one(chunks), good(false));
        let early = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(one(early), Ok(Answer { status: 204, closes: false }));
    }

    #[test]
    fn answers_that_end_early_are_truncated() {
        for answer in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc"[..],
            b"HTTP/1.1 200 O",
            b"",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        ] {
            assert!(matches!(one(answer), Err(Fail::Lost(Kind::Truncated, _))), "{answer:?}");
        }
        assert!(matches!(one(b"SSH-2.0-x\r\n"), Err(Fail::Lost(Kind::Wrong, _))));
    }

    #[test]
    fn a_server_that_says_nothing_hangs() {
        let mut held = None;
        let mut client = pair(1, |server| held = Some(server));
        assert!(matches!(client.answer(), Err(Fail::Lost(Kind::Hung, _))));
    }

    #[test]
    fn a_request_that_was_read_and_dropped_is_lost() {
        let mut client = pair(1, |mut server| {
            server.write_all(GOOD).unwrap();
            let mut bytes = vec![0; ASK.len()];
            server.set_read_timeout(Some(LIMIT)).unwrap();
            std::thread::Builder::new()
                .spawn(move || server.read_exact(&mut bytes).unwrap())
                .unwrap();
        });
        client.answer().unwrap();
        client.send(ASK).unwrap();
        assert!(matches!(client.answer(), Err(Fail::Lost(Kind::Truncated, _))));
    }

    #[test]
    fn a_request_that_met_a_closed_socket_may_be_sent_again() {
        let mut client = pair(1, |mut server| {
            server.write_all(GOOD).unwrap();
            // Closes in this direction first, so that the client meets the end before the reset.
            server.shutdown(Shutdown::Write).unwrap();
        });
        client.answer().unwrap();
        assert!(client.is_closed());
        let sent = client.send(ASK);
        assert_eq!(sent.and_then(|()| client.answer()), Err(Fail::Unread));
    }

    #[test]
    fn only_a_lack_of_this_machine_is_no_loss() {
        let of = |number| io::Error::from_raw_os_error(number);
        for number in [libc::EMFILE, libc::EADDRNOTAVAIL, libc::ENOMEM] {
            assert!(matches!(not_connected(&of(number)), Fail::NoRoom(_)), "{number}");
            assert!(matches!(failed("read", &of(number)), Fail::NoRoom(_)), "{number}");
        }
        for number in [libc::EHOSTUNREACH, libc::ENETUNREACH, libc::EACCES, libc::ECONNREFUSED] {
            assert!(matches!(not_connected(&of(number)), Fail::Lost(Kind::Refused, _)), "{number}");
        }
        assert!(matches!(failed("read", &of(libc::EIO)), Fail::Lost(Kind::Reset, _)));
        assert!(matches!(not_connected(&of(libc::ECONNRESET)), Fail::Lost(Kind::Reset, _)));
    }

    #[test]
    fn a_new_connection_that_is_reset_is_lost() {
        let mut client = pair(1, |server| {
            let socket = socket2::Socket::from(server);
            socket.set_linger(Some(Duration::ZERO)).unwrap();
        });
        assert!(matches!(client.answer(), Err(Fail::Lost(Kind::Reset, _))));
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(matches!(Connection::open(gone, LIMIT), Err(Fail::Lost(Kind::Refused, _))));
    }
}
