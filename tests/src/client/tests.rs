//! The client against servers that each misbehave in one way. It must notice all of them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::wait::uninterrupted;

/// A server that reads the first request of each connection and then calls `act`.
fn server(act: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let act = Arc::new(act);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, act) = (stream.unwrap(), Arc::clone(&act));
            thread::spawn(move || {
                read_request(&mut stream);
                act(stream);
            });
        }
    });
    address
}

fn read_request(stream: &mut TcpStream) -> bool {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") {
        match uninterrupted(|| stream.read(&mut byte)) {
            Ok(1) => seen.push(byte[0]),
            _ => return false,
        }
    }
    true
}

fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
}

fn reset(stream: TcpStream) {
    let socket = socket2::Socket::from(stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

/// Two clients, until they have got four answers or faults.
fn see(address: SocketAddr, mode: Mode) -> Tally {
    let mut load = Load::new(address);
    load.clients = 2;
    load.mode = mode;
    load.hang = Duration::from_millis(200);
    load.at_most = Duration::from_secs(20);
    let running = load.start();
    running.warm(4);
    running.stop()
}

#[track_caller]
fn only(tally: &Tally, kind: FaultKind) {
    assert!(tally.count(kind) > 0, "no {kind:?}: {tally}");
    assert_eq!(tally.count(kind), tally.lost(), "not only {kind:?}: {tally}");
}

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npid=7\n";
const KEEP: Mode = Mode::KeepAlive { requests_per_connection: 5 };

#[test]
fn a_good_server_loses_nothing() {
    for mode in [Mode::NewConnection, KEEP] {
        let address = server(|mut stream| {
            say(&mut stream, GOOD);
            while read_request(&mut stream) {
                say(&mut stream, GOOD);
            }
        });
        let tally = see(address, mode);
        assert_eq!(tally.lost(), 0, "{tally}");
        assert_eq!(tally.by_pid.get(&7), Some(&tally.ok));
    }
}

#[test]
fn chunks_and_answers_without_a_length_are_read() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npid=\r\n\
                   b\r\n7 version=2\r\n0\r\n\r\n";
    let address = server(move |mut stream| say(&mut stream, chunked));
    let tally = see(address, Mode::NewConnection);
    assert_eq!((tally.lost(), tally.by_version.get("2")), (0, Some(&tally.ok)), "{tally}");
    let address = server(|mut stream| say(&mut stream, "HTTP/1.0 200 OK\r\n\r\npid=7\n"));
    let tally = see(address, KEEP);
    assert_eq!(tally.lost(), 0, "{tally}");
}

#[test]
fn a_refused_connection_is_seen() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    only(&see(address, Mode::NewConnection), FaultKind::Refused);
}

#[test]
fn a_reset_is_seen_before_and_within_the_answer() {
    only(&see(server(reset), Mode::NewConnection), FaultKind::Reset);
    let address = server(|mut stream| {
        say(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npid=7");
        reset(stream);
    });
    // The bytes before the reset may be thrown away with it; either way it is a reset.
    only(&see(address, Mode::NewConnection), FaultKind::Reset);
}

#[test]
fn a_truncated_answer_is_seen() {
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npid=7",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npid=\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\npid=\r\n",
    ] {
        let address = server(|mut stream| say(&mut stream, text));
        only(&see(address, Mode::NewConnection), FaultKind::Truncated);
    }
}

#[test]
fn an_end_without_a_byte_is_seen() {
    only(&see(server(drop), Mode::NewConnection), FaultKind::Empty);
}

#[test]
fn an_end_between_two_requests_is_seen() {
    let address = server(|mut stream| {
        say(&mut stream, GOOD);
        read_request(&mut stream);
    });
    let tally = see(address, KEEP);
    only(&tally, FaultKind::ClosedIdle);
    assert!(tally.ok > 0);
}

#[test]
fn a_server_that_says_it_closes_may_close() {
    let address = server(|mut stream| {
        say(
            &mut stream,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\npid=7\n",
        );
    });
    assert_eq!(see(address, KEEP).lost(), 0);
}

#[test]
fn a_hanging_server_is_seen() {
    let address = server(|mut stream| {
        say(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npid=7");
        read_request(&mut stream);
    });
    only(&see(address, Mode::NewConnection), FaultKind::Hung);
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    only(&see(deaf.local_addr().unwrap(), Mode::NewConnection), FaultKind::Hung);
}

#[test]
fn a_wrong_answer_is_seen() {
    for text in [
        "HTTP/1.1 500 Oops\r\nContent-Length: 6\r\n\r\npid=7\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npid=",
        "HTTP/1.1 200 OK\r\n\r\npid=7\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
    ] {
        let address = server(|mut stream| say(&mut stream, text));
        only(&see(address, Mode::NewConnection), FaultKind::Bad);
    }
}
