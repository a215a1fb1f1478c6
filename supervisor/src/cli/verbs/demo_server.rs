//! `demo-server`: the worker of `demo`, a small HTTP/1.1 server. It binds its port like any server,
//! and reads two variables of the supervisor for its greeting.
//!
//! It refuses requests with a chunked body and heads over 16 KiB. It serves at most 1024
//! connections at a time; others wait in the accept queue.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{self, Stdout};

/// Connections that are served at the same time, one thread each.
const MAX_CONNECTIONS: usize = 1024;
/// Bytes of a request before its body.
const MAX_HEAD: usize = 16 * 1024;
/// Bytes of a request's body.
const MAX_BODY: usize = 1 << 20;
/// Milliseconds that `/slow` may take.
const MAX_SLOW: u64 = 60_000;
/// How long a connection may be idle.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a thread's stack. The largest buffer is 8 KiB.
const STACK: usize = 128 * 1024;
/// How long to wait after an `accept` that failed.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);

/// Be a worker of the demo. Started by "demo".
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// The port to listen on.
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
}

/// Runs the verb, until a client asks for `/exit`.
pub(crate) fn run(args: &Args, _: &mut Stdout) -> Result<Exit, Failure> {
    let address = SocketAddr::new(args.host, args.port);
    let listener = TcpListener::bind(address)
        .map_err(|error| Failure::io(format_args!("cannot listen on {address}"), &error))?;
    output::note(format_args!("demo server listens on {address}"));
    let (ended, end) = channel();
    thread::Builder::new()
        .spawn(move || accept(&listener, &greeting(), &ended))
        .map_err(|error| Failure::io("cannot start a thread that accepts", &error))?;
    // An error means that the thread has ended, because it can accept no more.
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

/// Accepts connections and serves each in a thread.
fn accept(listener: &TcpListener, greeting: &str, ended: &Sender<Exit>) {
    let greeting: Arc<str> = greeting.into();
    let (permits, returned): (SyncSender<()>, Receiver<()>) = sync_channel(MAX_CONNECTIONS);
    let returned = Arc::new(Mutex::new(returned));
    loop {
        // Blocks while there are MAX_CONNECTIONS.
        if permits.send(()).is_err() {
            return;
        }
        let Ok((stream, _)) = listener.accept() else {
            // There are no descriptors left, or the client is gone.
            output::pause(ACCEPT_RETRY);
            return_permit(&returned);
            continue;
        };
        let (greeting, ended) = (Arc::clone(&greeting), ended.clone());
        let returning = Arc::clone(&returned);
        let started = thread::Builder::new().stack_size(STACK).spawn(move || {
            // A connection that breaks concerns its client only.
            let _ = serve(stream, &greeting, &ended);
            return_permit(&returning);
        });
        if started.is_err() {
            return_permit(&returned);
        }
    }
}

fn return_permit(returned: &Mutex<Receiver<()>>) {
    if let Ok(returned) = returned.lock() {
        // There is a permit: every caller has sent one.
        let _ = returned.try_recv();
    }
}

/// A request.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    path: String,
    /// Whether the method is HEAD.
    is_head: bool,
    keep_alive: bool,
    /// Bytes of the head and the body.
    length: usize,
}

/// What the bytes of a connection contain.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Complete(Request),
    Incomplete,
    /// No request that this server answers; with the status to send.
    Invalid(&'static str),
}

/// Answers the requests of one connection.
fn serve(mut stream: TcpStream, greeting: &str, ended: &Sender<Exit>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
    stream.set_write_timeout(Some(IDLE_TIMEOUT))?;
    let mut received = Vec::new();
    loop {
        match parse(&received) {
            Parsed::Complete(request) => {
                received.drain(..request.length);
                let (status, body) = answer(&request.path, greeting);
                let keep_alive = request.keep_alive && request.path != "/exit";
                stream.write_all(&response(status, &body, keep_alive, request.is_head))?;
                if request.path == "/exit" {
                    // An error means that the process is ending already.
                    let _ = ended.send(Exit::Failed);
                }
                if !keep_alive {
                    return Ok(());
                }
            }
            Parsed::Invalid(status) => {
                return stream.write_all(&response(status, "not understood\n", false, false));
            }
            Parsed::Incomplete => {
                let mut bytes = [0; 8 * 1024];
                let count = match stream.read(&mut bytes) {
                    Ok(0) => return Ok(()),
                    // A process that is stopped and continued has its timed reads interrupted.
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                    read => read?,
                };
                received.extend_from_slice(&bytes[..count]);
            }
        }
    }
}

/// The first request in `received`.
fn parse(received: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(received) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if received.len() < MAX_HEAD => return Parsed::Incomplete,
        Ok(httparse::Status::Partial) => {
            return Parsed::Invalid("431 Request Header Fields Too Large");
        }
        Err(_) => return Parsed::Invalid("400 Bad Request"),
    };
    let mut keep_alive = request.version == Some(1);
    let mut body = 0;
    for header in request.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
        if header.name.eq_ignore_ascii_case("content-length") {
            match value.parse() {
                Ok(length) if length <= MAX_BODY => body = length,
                _ => return Parsed::Invalid("413 Content Too Large"),
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Parsed::Invalid("411 Length Required");
        } else if header.name.eq_ignore_ascii_case("connection") {
            for word in value.split(',').map(str::trim) {
                if word.eq_ignore_ascii_case("close") {
                    keep_alive = false;
                } else if word.eq_ignore_ascii_case("keep-alive") {
                    keep_alive = true;
                }
            }
        }
    }
    if received.len() < head + body {
        return Parsed::Incomplete;
    }
    Parsed::Complete(Request {
        path: request.path.unwrap_or("/").to_owned(),
        is_head: request.method == Some("HEAD"),
        keep_alive,
        length: head + body,
    })
}

/// The status and the body for a path.
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

/// The bytes of a response.
fn response(status: &str, body: &str, keep_alive: bool, head_only: bool) -> Vec<u8> {
    let connection = if keep_alive { "keep-alive" } else { "close" };
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
    fn exit_is_answered() {
        let (text, ended) = talk(b"GET /exit HTTP/1.1\r\n\r\n");
        assert!(text.ends_with("bye\n"), "{text}");
        assert_eq!(ended, Some(Exit::Failed));
    }

    #[test]
    fn malformed_requests_are_refused() {
        for (request, status) in [
            ("\x01\x02\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "411"),
            ("GET / HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n", "413"),
        ] {
            let Parsed::Invalid(found) = parse(request.as_bytes()) else { panic!("{request}") };
            assert!(found.starts_with(status), "{found}");
        }
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(MAX_HEAD));
        assert!(matches!(parse(long.as_bytes()), Parsed::Invalid(_)));
    }
}
