//! A collector of OpenTelemetry for tests: it keeps each request, and answers as it is told.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::Port;
use crate::wait::wait_until;

/// How long a client may take to send its request.
const LIMIT: Duration = Duration::from_secs(30);

/// What a request is answered with.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A status, header lines without their ends, and a body.
    Status(u16, Vec<String>, Vec<u8>),
    /// Nothing, until the collector ends.
    Nothing,
}

impl Answer {
    /// A status alone.
    pub fn status(status: u16) -> Self {
        Self::Status(status, Vec::new(), Vec::new())
    }
}

/// A request.
#[derive(Debug, Clone)]
pub struct Received {
    /// The request line and the headers, in lower case.
    pub head: String,
    /// The body as it was sent.
    pub body: Vec<u8>,
    /// When it had arrived.
    pub at: Instant,
}

#[derive(Debug, Default)]
struct Shared {
    requests: Mutex<Vec<Received>>,
    answers: Mutex<VecDeque<Answer>>,
    /// Connections that get no answer.
    silent: Mutex<Vec<TcpStream>>,
    ended: AtomicBool,
}

/// See the module. It ends when it is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// Listens on this port. After these answers, further requests are answered with 200.
    pub fn listen(port: &Port, answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind(port.v4()).expect("a free port");
        let shared = Arc::new(Shared { answers: Mutex::new(answers.into()), ..Shared::default() });
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if theirs.ended.load(Ordering::SeqCst) {
                    return;
                }
                theirs.converse(stream.expect("a connection"));
            }
        });
        Self { address: port.v4(), shared, thread: Some(thread) }
    }

    /// What has arrived.
    pub fn requests(&self) -> Vec<Received> {
        lock(&self.shared.requests).clone()
    }

    /// Waits until this many requests have arrived, and returns them.
    pub fn wait(&self, count: usize, limit: Duration) -> Vec<Received> {
        wait_until(&format!("{count} requests"), limit, || {
            let requests = self.requests();
            (requests.len() >= count).then_some(requests)
        })
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread. An error means that it has ended.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !thread::panicking()
        {
            panic!("the collector of the test failed");
        }
    }
}

impl Shared {
    fn converse(&self, stream: TcpStream) {
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        let mut reader = BufReader::new(&stream);
        let Some((head, body)) = request(&mut reader) else { return };
        lock(&self.requests).push(Received { head, body, at: Instant::now() });
        let answer = lock(&self.answers).pop_front().unwrap_or_else(|| Answer::status(200));
        match answer {
            Answer::Nothing => lock(&self.silent).push(stream),
            Answer::Status(status, headers, body) => {
                let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n{headers}\r\n");
                // The client may have ended meanwhile.
                let mut stream = &stream;
                let _ = stream.write_all(&[head.as_bytes(), &body].concat());
            }
        }
    }
}

/// The head of a request, in lower case, and its body. `None`: the client sent none.
fn request(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.trim().parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
