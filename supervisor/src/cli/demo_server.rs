//! The worker of `demo`: a small HTTP/1.1 server that knows nothing of the supervisor but two
//! variables for its greeting. It binds as any server would.
//!
//! Refuses requests with a chunked body, heads over 16 KiB, and more than 1024 connections at once
//! (those wait in the queue).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::args::DemoServerArgs;
use super::exit::{Exit, Failure};
use super::output;

const MAX_CONNECTIONS: usize = 1024;
const MAX_HEAD: usize = 16 * 1024;
const MAX_BODY: usize = 1 << 20;
const MAX_SLOW: u64 = 60_000;
/// A connection may be quiet for so long.
const PATIENCE: Duration = Duration::from_secs(60);
const STACK: usize = 128 * 1024;

pub(super) fn run(args: &DemoServerArgs) -> Result<Exit, Failure> {
    let address = SocketAddr::new(args.host, args.port);
    let listener = TcpListener::bind(address)
        .map_err(|error| Failure::io(format_args!("cannot listen on {address}"), &error))?;
    output::remark(format_args!("demo server listens on {address}"));
    let (ended, end) = channel();
    thread::spawn(move || accept(&listener, &greeting(), &ended));
    // The worker ends when somebody asked for /exit, or when accepting failed.
    Ok(end.recv().unwrap_or(Exit::Failed))
}

fn greeting() -> String {
    let variable = |name| std::env::var(name).unwrap_or_else(|_| "?".to_owned());
    format!(
        "pid={} slot={} generation={} says hello\n",
        std::process::id(),
        variable("SUPERVISOR_SLOT"),
        variable("SUPERVISOR_GENERATION")
    )
}

fn accept(listener: &TcpListener, greeting: &str, ended: &Sender<Exit>) {
    let greeting: Arc<str> = greeting.into();
    let (permits, returned): (SyncSender<()>, Receiver<()>) = sync_channel(MAX_CONNECTIONS);
    let returned = Arc::new(Mutex::new(returned));
    loop {
        // Waits while there are too many.
        if permits.send(()).is_err() {
            return;
        }
        let Ok((stream, _)) = listener.accept() else {
            // Out of fds, or the client left: others end meanwhile.
            output::pause(Duration::from_millis(10));
            give_back(&returned);
            continue;
        };
        let (greeting, ended) = (Arc::clone(&greeting), ended.clone());
        let returning = Arc::clone(&returned);
        let started = thread::Builder::new().stack_size(STACK).spawn(move || {
            // A connection that breaks is the client's affair.
            let _ = serve(stream, &greeting, &ended);
            give_back(&returning);
        });
        if started.is_err() {
            give_back(&returned);
        }
    }
}

fn give_back(returned: &Mutex<Receiver<()>>) {
    if let Ok(returned) = returned.lock() {
        // There is one: every caller has put it in.
        let _ = returned.try_recv();
    }
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    path: String,
    is_head: bool,
    keep: bool,
    /// The head and the body, in bytes.
    length: usize,
}

/// What came so far, looked at.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Whole(Asked),
    Partial,
    Wrong(&'static str),
}

fn serve(mut stream: TcpStream, greeting: &str, ended: &Sender<Exit>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut held = Vec::new();
    loop {
        match parse(&held) {
            Parsed::Whole(asked) => {
                held.drain(..asked.length);
                let (status, body) = answer(&asked.path, greeting);
                let keep = asked.keep && asked.path != "/exit";
                stream.write_all(&response(status, &body, keep, asked.is_head))?;
                if asked.path == "/exit" {
                    // The other side takes it, or is gone with the process.
                    let _ = ended.send(Exit::Failed);
                }
                if !keep {
                    return Ok(());
                }
            }
            Parsed::Wrong(status) => {
                return stream.write_all(&response(status, "not understood\n", false, false));
            }
            Parsed::Partial => {
                let mut bytes = [0; 8 * 1024];
                let count = match stream.read(&mut bytes) {
                    Ok(0) => return Ok(()),
                    // It was stopped for a moment, and has a time limit.
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                    read => read?,
                };
                held.extend_from_slice(&bytes[..count]);
            }
        }
    }
}

fn parse(held: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(held) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if held.len() < MAX_HEAD => return Parsed::Partial,
        Ok(httparse::Status::Partial) => {
            return Parsed::Wrong("431 Request Header Fields Too Large");
        }
        Err(_) => return Parsed::Wrong("400 Bad Request"),
    };
    let mut keep = request.version == Some(1);
    let mut body = 0;
    for header in request.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
        if header.name.eq_ignore_ascii_case("content-length") {
            match value.parse() {
                Ok(length) if length <= MAX_BODY => body = length,
                _ => return Parsed::Wrong("413 Content Too Large"),
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Parsed::Wrong("411 Length Required");
        } else if header.name.eq_ignore_ascii_case("connection") {
            for word in value.split(',').map(str::trim) {
                if word.eq_ignore_ascii_case("close") {
                    keep = false;
                } else if word.eq_ignore_ascii_case("keep-alive") {
                    keep = true;
                }
            }
        }
    }
    if held.len() < head + body {
        return Parsed::Partial;
    }
    Parsed::Whole(Asked {
        path: request.path.unwrap_or("/").to_owned(),
        is_head: request.method == Some("HEAD"),
        keep,
        length: head + body,
    })
}

fn answer(path: &str, greeting: &str) -> (&'static str, String) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    match path {
        "/" => ("200 OK", greeting.to_owned()),
        "/slow" => {
            let ms = query.split('&').find_map(|pair| pair.strip_prefix("ms=")?.parse().ok());
            output::pause(Duration::from_millis(ms.unwrap_or(200).min(MAX_SLOW)));
            ("200 OK", greeting.to_owned())
        }
        "/exit" => ("200 OK", "bye\n".to_owned()),
        _ => ("404 Not Found", "not found: there are /, /slow?ms=200 and /exit\n".to_owned()),
    }
}

fn response(status: &str, body: &str, keep: bool, head_only: bool) -> Vec<u8> {
    let connection = if keep { "keep-alive" } else { "close" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: {connection}\r\n\r\n",
        body.len()
    );
    let body = if head_only { "" } else { body };
    [head.as_bytes(), body.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(requests: &[u8]) -> (String, Option<Exit>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (ended, end) = channel();
        thread::spawn(move || accept(&listener, "hello\n", &ended));
        let mut stream = TcpStream::connect(address).unwrap();
        for half in requests.chunks(7) {
            stream.write_all(half).unwrap();
        }
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        (text, end.try_recv().ok())
    }

    #[test]
    fn keep_alive_pipelining_and_bodies() {
        let (text, ended) = talk(
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST /no HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\
              HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n",
        );
        let status: Vec<&str> = text.lines().filter(|l| l.starts_with("HTTP/")).collect();
        assert_eq!(status, ["HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found", "HTTP/1.1 200 OK"]);
        assert_eq!(text.matches("hello\n").count(), 1, "{text}");
        assert!(text.ends_with("Connection: close\r\n\r\n"), "{text}");
        assert_eq!(ended, None);
    }

    #[test]
    fn slow_answers_and_old_clients() {
        let (text, _) = talk(b"GET /slow?ms=5 HTTP/1.0\r\n\r\n");
        assert!(text.ends_with("Connection: close\r\n\r\nhello\n"), "{text}");
    }

    #[test]
    fn exit_answers_first() {
        let (text, ended) = talk(b"GET /exit HTTP/1.1\r\n\r\n");
        assert!(text.ends_with("bye\n"), "{text}");
        assert_eq!(ended, Some(Exit::Failed));
    }

    #[test]
    fn nonsense_is_refused() {
        for (request, status) in [
            ("\x01\x02\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "411"),
            ("GET / HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n", "413"),
        ] {
            let Parsed::Wrong(found) = parse(request.as_bytes()) else { panic!("{request}") };
            assert!(found.starts_with(status), "{found}");
        }
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(MAX_HEAD));
        assert!(matches!(parse(long.as_bytes()), Parsed::Wrong(_)));
    }
}
