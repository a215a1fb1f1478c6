//! Each client behind a proxy has its slot, by the PROXY header at the beginning of its
//! connections.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tests::{Home, Port, fixtures};

const SOON: Duration = Duration::from_secs(10);

fn start(options: &[&str]) -> Option<(Home, Port)> {
    let (home, port) = (tests::home!(), Port::new());
    let node = fixtures::need("node")?;
    let command = [node, fixtures::file("node/proxied.js"), port.to_string()];
    let options = [&["-i", "3", "--balance", "sticky"], options].concat();
    home.start("web", &options, &command).ok();
    Some((home, port))
}

/// Sends the pieces, with a pause between them, and reads the answer to its end.
fn exchange(port: &Port, pieces: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(port.v4()).expect("a connection");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    for (at, piece) in pieces.iter().enumerate() {
        if at > 0 {
            tests::wait::let_pass(Duration::from_millis(30));
        }
        stream.write_all(piece).expect("a worker reads");
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer in time");
    answer
}

fn header(client: u8) -> String {
    format!("PROXY TCP4 203.0.113.{client} 192.0.2.1 4000 80\r\n")
}

/// The pid that answers. The program must have received the whole header.
fn pid(port: &Port, client: u8, cut: Option<usize>) -> String {
    let header = header(client);
    let bytes = header.as_bytes();
    let answer = match cut {
        Some(at) => exchange(port, &[&bytes[..at], &bytes[at..]]),
        None => exchange(port, &[bytes]),
    };
    let (pid, echoed) = answer.trim_end().split_once(" header=").expect(&answer);
    assert_eq!(echoed, header.trim_end(), "the program got another header");
    pid.to_owned()
}

#[test]
fn each_client_behind_a_proxy_has_its_slot() {
    let Some((home, port)) = start(&["--proxy-protocol"]) else { return };
    let app = home.app("web");
    assert_eq!(app.engine, "primary", "{app:#?}");
    let first: BTreeMap<u8, String> = (1..=60).map(|c| (c, pid(&port, c, None))).collect();
    let spread: std::collections::BTreeSet<&String> = first.values().collect();
    assert_eq!(spread.len(), 3, "60 clients of one proxy reach every worker: {first:?}");
    for (client, before) in &first {
        let cut = Some(1 + usize::from(*client) % 30);
        assert_eq!(&pid(&port, *client, cut), before, "a header in two pieces");
    }
    // A client that sends no header, or a broken one, is served as well.
    assert!(exchange(&port, &[b"GET / HTTP/1.0\r\n"]).contains("header=GET / HTTP/1.0"));
    assert!(exchange(&port, &[b"PROXY TCP4 nonsense\r\n"]).contains("header=PROXY TCP4 nonsense"));
    assert!(exchange(&port, &[b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"]).starts_with("pid="));
}

/// 20 clients are answered while 100 others, which send no header, are still held by the primary.
#[test]
fn a_silent_client_holds_nobody_up() {
    let Some((home, port)) = start(&["--proxy-protocol"]) else { return };
    let primary = home.app("web").primary_pid;
    let fds = || tests::process::fds(primary).len();
    let before = tests::process::fd_count(primary);
    let silent: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(port.v4()).expect("a connection")).collect();
    for client in 1..=20 {
        pid(&port, client, None);
    }
    assert!(fds() >= before + silent.len(), "the clients were answered after the silent ones");
    // After 3 s the silent ones go to a worker, which hears what they send then.
    tests::wait_until("the primary to let go of the silent clients", SOON, || {
        (fds() <= before + 1).then_some(())
    });
    for mut stream in silent {
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        stream.write_all(b"late\r\n").expect("a worker reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer in time");
        assert!(answer.contains("header=late"), "{answer}");
    }
}

/// The primary dies, and then is upgraded, while headers are incomplete.
#[test]
fn a_header_may_be_completed_under_the_next_primary() {
    let Some((home, port)) = start(&["--proxy-protocol"]) else { return };
    for upgrade in [false, true] {
        let before = home.app("web");
        let clients = 1..=20u8;
        let slots: Vec<String> = clients.clone().map(|client| pid(&port, client, None)).collect();
        let begun: Vec<TcpStream> = clients
            .clone()
            .map(|client| {
                let mut stream = TcpStream::connect(port.v4()).expect("a connection");
                let cut = usize::from(client);
                stream.write_all(&header(client).as_bytes()[..cut]).expect("the app listens");
                stream
            })
            .collect();
        tests::wait_until("the connections to be accepted", SOON, || {
            let held = tests::process::fds(before.primary_pid).len();
            let queued = home.app("web").listeners[0].backlog;
            (queued == 0 && held >= begun.len()).then_some(())
        });
        if upgrade {
            home.run(&["upgrade", "web"]).ok();
        } else {
            tests::process::kill(before.primary_pid, nix::sys::signal::Signal::SIGKILL);
        }
        home.wait_app("web", "another primary", SOON, |app| app.primary_pid != before.primary_pid);
        for ((client, mut stream), slot) in clients.zip(begun).zip(slots) {
            let header = header(client);
            stream.set_read_timeout(Some(SOON)).expect("a timeout");
            stream.write_all(&header.as_bytes()[usize::from(client)..]).expect("a worker reads");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer in time");
            assert_eq!(answer.trim_end(), format!("{slot} header={}", header.trim_end()));
        }
    }
}

#[test]
fn it_is_refused_or_reported_where_it_cannot_work() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    home.start("web", &["--proxy-protocol"], &command).code(2).says(&["balance = \"sticky\""]);
    let kernel = ["--proxy-protocol", "--balance", "sticky", "--engine", "kernel"];
    home.start("web", &kernel, &command).code(2).says(&["engine = \"primary\""]);
    let started = home.start("web", &["--proxy-protocol", "--balance", "sticky"], &command).ok();
    assert!(started.stdout.contains("PROXY headers are not read"), "{started:#?}");
}
