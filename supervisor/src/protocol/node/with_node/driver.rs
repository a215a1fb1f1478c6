//! A small runtime for the tests: a Node process at the other end of a socketpair, and clients.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};

use crate::protocol::node::*;
use crate::sys::channel::{self, Received};
use crate::sys::poll::poll;

/// The longest time that any single step may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Worker {
    pub(super) link: NodeLink,
    pub(super) child: Child,
    channel: Option<UnixStream>,
    words: VecDeque<Word>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/protocol/node/with_node").join(name)
}

impl Worker {
    pub(super) fn start(node: &Path, id: u32) -> Self {
        let mut worker = Self::start_program(node, id, &fixture("app.js"), 0);
        worker.until(|word| matches!(word, Word::Online).then_some(()));
        worker.until(|word| matches!(word, Word::Message(m) if m.is_ready()).then_some(()));
        worker
    }

    pub(super) fn start_program(node: &Path, id: u32, program: &Path, port: u16) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        // The shell moves the channel from descriptor 0 to 3.
        let child = Command::new("sh")
            .args(["-c", "ulimit -n 512; exec \"$0\" \"$1\" 3<&0 </dev/null"])
            .args([node, program])
            .env("NODE_CHANNEL_FD", "3")
            .env("NODE_CHANNEL_SERIALIZATION_MODE", "json")
            .env("NODE_UNIQUE_ID", id.to_string())
            .env("PORT", port.to_string())
            .stdin(OwnedFd::from(theirs))
            .spawn()
            .unwrap();
        Self { link: NodeLink::default(), child, channel: Some(ours), words: VecDeque::new() }
    }

    /// Writes what the socket takes now.
    pub(super) fn flush(&mut self) {
        let Some(channel) = &self.channel else { return };
        while let Some(Packet { bytes, fd }) = self.link.next_packet() {
            match channel::send(channel.as_fd(), bytes, fd) {
                Ok(Some(count)) => self.link.wrote(count),
                Ok(None) => return,
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return,
                Err(error) => panic!("sendmsg: {error}"),
            }
        }
    }

    /// Writes, waits for bytes for at most `patience`, and reads. `false`: the channel has ended.
    fn turn(&mut self, patience: Duration) -> bool {
        self.flush();
        let Some(channel) = &self.channel else { return false };
        let mut events = PollFlags::POLLIN;
        if self.link.next_packet().is_some() {
            events |= PollFlags::POLLOUT;
        }
        let mut polled = [PollFd::new(channel.as_fd(), events)];
        poll(&mut polled, Some(patience)).unwrap();
        let came = polled[0].revents().unwrap();
        if !came.intersects(PollFlags::POLLIN | PollFlags::POLLHUP) {
            return true;
        }
        let mut bytes = vec![0; 65536];
        let Ok(Received::Some(count, fds)) = channel::receive(channel.as_fd(), &mut bytes) else {
            self.channel = None;
            return false;
        };
        let mut words = Vec::new();
        self.link.take(&bytes[..count], fds, &mut words).unwrap();
        self.words.extend(words);
        true
    }

    /// The first word from now on that `wanted` accepts; others are dropped.
    pub(super) fn until<T>(&mut self, mut wanted: impl FnMut(Word) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Some(word) = self.words.pop_front() {
                if let Some(found) = wanted(word) {
                    return found;
                }
            }
            assert!(Instant::now() < deadline, "the word did not come in time");
            assert!(
                self.turn(Duration::from_millis(100)) || !self.words.is_empty(),
                "the channel ended"
            );
        }
    }

    /// Reads the words that are there now, without a long wait.
    pub(super) fn turn_once(&mut self, words: &mut Vec<Word>) {
        self.turn(Duration::from_millis(1));
        words.extend(self.words.drain(..));
    }

    pub(super) fn tell(&mut self, value: Value) {
        self.link.send(&UserMessage::new(&value)).unwrap();
    }

    /// Sends a message and waits for an answer that has that field.
    pub(super) fn ask(&mut self, value: Value, field: &str) -> Value {
        self.tell(value);
        self.answer(field)
    }

    pub(super) fn answer(&mut self, field: &str) -> Value {
        self.until(|word| match word {
            Word::Message(message) => {
                let value = message.value().unwrap();
                (!value[field].is_null()).then_some(value)
            }
            _ => None,
        })
    }

    pub(super) fn query(&mut self) -> (u64, Box<ServerAsk>, bool) {
        self.until(|word| match word {
            Word::Query { seq, ask, again } => Some((seq, ask, again)),
            _ => None,
        })
    }

    pub(super) fn listening(&mut self) -> (Option<String>, Box<ServerAsk>) {
        self.until(|word| match word {
            Word::Listening { key, ask } => Some((key, ask)),
            _ => None,
        })
    }

    /// Waits for the end of the channel, then for the end of the process.
    pub(super) fn exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        while self.turn(Duration::from_millis(100)) {
            assert!(Instant::now() < deadline, "the channel stays open");
        }
        self.child.wait().unwrap()
    }

    /// Lets the worker listen in the primary engine. Returns the key.
    pub(super) fn serve_round_robin(&mut self, listen: Value, address: SocketAddr) -> String {
        self.tell(listen);
        let (seq, ask, _) = self.query();
        self.link.reply_round_robin(seq, None, Some(address)).unwrap();
        self.listening();
        ask.key()
    }
}

pub(super) fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A client, and the accepted end of its connection.
pub(super) fn connection(listener: &TcpListener) -> (TcpStream, OwnedFd) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut polled = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, None).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    accepted.set_nonblocking(true).unwrap();
    (client, accepted.into())
}

/// A socket of a SO_REUSEPORT group.
pub(super) fn slot_socket(address: SocketAddr) -> (OwnedFd, SocketAddr) {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM.nonblocking(),
        None,
    )
    .unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(128).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket.into(), address)
}

/// The body of one HTTP request on a connection of its own, while `worker` is served.
pub(super) fn get(client: &mut (impl Read + Write)) -> String {
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    // One chunk, or none at all.
    body.lines().find(|line| line.contains(' ')).unwrap_or(body).to_owned()
}

/// The first line that a `net` server of the program writes.
pub(super) fn first_line(mut client: &TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match client.read(&mut byte) {
            Ok(0) => break,
            Ok(_) if byte == *b"\n" => break,
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("no line: {error}"),
        }
    }
    String::from_utf8(line).unwrap()
}

/// Whether the other end of a file or socket is the same open file.
pub(super) fn is_open(fd: &OwnedFd) -> bool {
    File::from(fd.as_fd().try_clone_to_owned().unwrap()).metadata().is_ok()
}
