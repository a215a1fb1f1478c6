//! Reloads under clients that keep their connections and are never quiet, as a reverse proxy or
//! `wrk` is: no connection is ever idle for longer than a moment, so waiting for a quiet one would
//! take for ever. Nothing may be lost, and no reload may wait for its `drain_timeout`.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipc::control::{NoticeKind, Request};
use tests::http::FaultKind;
use tests::{Home, Load, Mode, Port, fixtures, node, npm, pip, wait_until};

const RELOADS: usize = 2;
/// Far below `drain_timeout` (30 s), and far above what a reload takes on a busy machine.
const IN_TIME: Duration = Duration::from_secs(25);

/// How long a client goes on asking if the reloads do not end.
const RELOADS_IN: Duration = Duration::from_secs(60);

/// Reloads an app of two workers under 16 clients who keep their connections.
fn nothing_is_lost(what: &str, home: &Home, name: &str, address: SocketAddr, path: &str) {
    let mut load = Load::new(address);
    (load.clients, load.mode) = (16, Mode::Kept);
    load.path = path.to_owned();
    let load = load.start();
    load.warm(200);
    let mut took = Vec::new();
    for _ in 0..RELOADS {
        took.push(home.run(&["reload", name]).ok().took);
        load.more(200);
    }
    let tally = load.stop().nothing_lost(&format!("{what}, kept connections, reloads {took:.1?}"));
    assert!(tally.by_pid.len() > 2 * RELOADS, "not every worker answers: {tally}");
    assert!(took.iter().all(|took| *took < IN_TIME), "{what}: {took:.1?}");
}

fn node(engine: &str, delay: &str, path: &str) {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(node) = fixtures::need("node") else { return };
    let command = [node, fixtures::file("node/kept.js"), port.to_string(), delay.to_owned()];
    home.start("web", &["-i", "2", "--engine", engine], &command).ok();
    let what = format!("Node, engine {engine}, {delay} ms, {path}");
    nothing_is_lost(&what, &home, "web", port.v4(), path);
}

#[test]
fn heavy_node_that_takes_its_time() {
    node("kernel", "5", "/");
}

#[test]
fn heavy_node_by_the_primary() {
    node("primary", "5", "/");
}

/// A server that answers at once has the next request before it is asked about anything else.
#[test]
fn heavy_node_that_answers_at_once() {
    node("kernel", "0", "/");
}

#[test]
fn heavy_node_that_insists_on_kept_connections() {
    node("kernel", "5", "/explicit");
}

fn package(program: &str) {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(file) = npm::app(program) else { return };
    let port_is = format!("PORT={port}");
    home.run(&["start", &file, "--name", "web", "-i", "2", "--env", &port_is]).ok();
    nothing_is_lost(program, &home, "web", port.v4(), "/");
}

#[test]
fn heavy_express() {
    package("express.js");
}

#[test]
fn heavy_fastify() {
    package("fastify.js");
}

/// Every Node at hand closes each connection after the last answer that its client waits for.
#[test]
fn heavy_requests_that_were_sent_together_are_all_answered() {
    const BATCH: usize = 4;
    for (version, program) in node::all() {
        let _exclusive = tests::exclusive();
        let (home, port) = (tests::home!(), Port::new());
        let command = [program, fixtures::file("node/kept.js"), port.to_string(), "1".to_owned()];
        home.start("web", &["-i", "1"], &command).ok();
        let reload = home.spawn(&["reload", "web"]);
        let end = Instant::now() + IN_TIME;
        let mut stream = TcpStream::connect(port.v4()).unwrap();
        stream.set_read_timeout(Some(IN_TIME)).unwrap();
        // The old worker ends the connection with a whole batch.
        loop {
            assert!(Instant::now() < end, "Node {version}: the connection does not end");
            // In one piece, for what is sent after an answer that closes is not read.
            let batch = "GET /early HTTP/1.1\r\nHost: l\r\n\r\n".repeat(BATCH - 1);
            let batch = batch + "GET / HTTP/1.1\r\nHost: l\r\n\r\n";
            stream.write_all(batch.as_bytes()).unwrap();
            let (text, ended) = answers(&mut stream, BATCH);
            assert_eq!(text.matches("pid=").count(), BATCH, "Node {version}: {text}");
            let says = text.matches("Connection: close").count();
            assert_eq!(says, usize::from(ended), "Node {version}: {text}");
            if ended {
                break;
            }
        }
        reload.end(IN_TIME).ok();
    }
}

/// So many answers of kept.js; whether the server ended the connection with the last one.
fn answers(stream: &mut TcpStream, count: usize) -> (String, bool) {
    let mut text = String::new();
    let mut bytes = [0; 4096];
    while text.matches("pid=").count() < count || !text.ends_with('\n') {
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => return (text, true),
            Ok(n) => text.push_str(&String::from_utf8_lossy(&bytes[..n])),
        }
    }
    let ended = text.contains("Connection: close");
    if ended {
        assert_eq!(
            stream.read(&mut bytes).expect("the connection ends"),
            0,
            "more after the last answer"
        );
    }
    (text, ended)
}

/// A socket that was upgraded is not HTTP any more, and is left alone for as long as it is used.
#[test]
fn an_upgraded_socket_goes_on() {
    let Some(node) = fixtures::need("node") else { return };
    let (home, port) = (tests::home!(), Port::new());
    let file = home.write(
        "upgrades.js",
        "require('http').createServer((q, r) => r.end(`pid=${process.pid}\\n`))\n\
         .on('upgrade', (request, socket) => {\n\
           socket.write('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: x\\r\\n\\r\\n');\n\
           socket.pipe(socket);\n\
         }).listen(process.argv[2]);\n",
    );
    let command = [node, file.display().to_string(), port.to_string()];
    home.start("web", &["-i", "1", "--min-uptime", "100ms", "--drain-timeout", "6s"], &command)
        .ok();
    let mut socket = TcpStream::connect(port.v4()).unwrap();
    socket.set_read_timeout(Some(IN_TIME)).unwrap();
    write!(socket, "GET / HTTP/1.1\r\nHost: l\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        .unwrap();
    let mut head = [0; 256];
    let length = socket.read(&mut head).unwrap();
    assert!(head[..length].starts_with(b"HTTP/1.1 101"));
    let mut notices = home.ask("web", &Request::Subscribe);
    let reload = home.spawn(&["reload", "web"]);
    notices.notice_of(NoticeKind::WorkerDraining, IN_TIME);
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        socket.write_all(b"ping").unwrap();
        let mut echo = [0; 4];
        socket.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"ping");
    }
    drop(socket);
    let outcome = reload.end(IN_TIME).ok();
    assert!(!outcome.stdout.contains("cut"), "{outcome:#?}");
}

/// The number that the app `client` printed last after this word.
fn last_count(home: &Home, word: &str) -> Option<u64> {
    let log = home.log("client", "out.log");
    log.lines().rev().find_map(|line| line.split_once(word)?.1.trim().parse().ok())
}

/// Sessions of HTTP/2 get their GOAWAY, and each stream its answer.
#[test]
fn heavy_sessions_of_http2_go_elsewhere() {
    let _exclusive = tests::exclusive();
    let Some(node) = fixtures::need("node") else { return };
    let (home, port) = (tests::home!(), Port::new());
    let server = [node.clone(), fixtures::file("node/http2.js"), port.to_string()];
    home.start("web", &["-i", "2"], &server).ok();
    let client = [node, fixtures::file("node/http2-client.js"), port.to_string()];
    home.start("client", &["--ready", "uptime", "--restart", "never"], &client).ok();
    let said = |word: &str| last_count(&home, word);
    wait_until("the first streams", IN_TIME, || said("ok ").filter(|ok| *ok > 100));
    let outcome = home.run(&["reload", "web"]).ok();
    assert!(outcome.took < IN_TIME && !outcome.stdout.contains("cut"), "{outcome:#?}");
    let ok = said("ok ").unwrap();
    wait_until("streams after the reload", IN_TIME, || said("ok ").filter(|now| *now > ok + 100));
    let log = home.log("client", "out.log");
    assert!(!log.contains("lost"), "{log}");
    // The client prints its counts twice a second, those of the sessions first.
    let sessions = said("sessions ").unwrap();
    assert!(sessions > 4, "no session went elsewhere: {log}");
}

/// Calls of gRPC, with one answer or with a stream of them, are all answered, and go to the new
/// workers after each reload.
#[test]
fn heavy_calls_and_streams_of_grpc_are_answered() {
    let _load = tests::under_load();
    let (home, port) = (tests::home!(), Port::new());
    let (Some(server), Some(clients)) = (npm::app("grpc.js"), npm::app("grpc-clients.js")) else {
        return;
    };
    let port_is = format!("PORT={port}");
    home.run(&["start", &server, "--name", "web", "-i", "2", "--env", &port_is]).ok();
    let options = ["--name", "client", "--ready", "uptime", "--restart", "never"];
    home.run(&[&["start", &clients, "--env", &port_is][..], &options].concat()).ok();
    let said = |word: &str| last_count(&home, word);
    let more = |streams: u64| {
        wait_until("more streams", IN_TIME, || said("streams ").filter(|now| *now > streams + 8));
    };
    more(0);
    for reload in 1..=RELOADS {
        let outcome = home.run(&["reload", "web"]).ok();
        assert!(outcome.took < IN_TIME && !outcome.stdout.contains("cut"), "{outcome:#?}");
        more(said("streams ").unwrap_or(0));
        let workers = said("workers ").unwrap_or(0);
        assert!(workers > u64::try_from(reload * 2).unwrap(), "the old workers answer still");
    }
    let log = home.log("client", "out.log");
    assert!(!log.contains("lost"), "{log}");
}

/// The workers of a Node app read datagrams from one socket, which the primary keeps: what waits
/// there while workers are replaced is answered by their successors.
#[test]
fn heavy_datagrams_are_answered_by_the_successors() {
    let _load = tests::under_load();
    let (home, port) = (tests::home!(), Port::new());
    let Some(node) = fixtures::need("node") else { return };
    let command = [node, fixtures::file("node/datagrams.js"), port.to_string()];
    home.start("web", &["-i", "2", "--ready", "uptime"], &command).ok();
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a client");
    client.set_read_timeout(Some(Duration::from_secs(5))).expect("set a limit");
    let ask = |number: u32| {
        let text = number.to_string();
        client.send_to(text.as_bytes(), port.v4()).expect("send");
        let mut bytes = [0; 100];
        let count = client.recv(&mut bytes).expect("an answer to every datagram");
        let answer = String::from_utf8_lossy(&bytes[..count]).into_owned();
        let (pid, same) = answer.split_once(' ').expect("a pid and a text");
        assert_eq!(same, text);
        pid.to_owned()
    };
    let before = home.pids("web");
    let done = AtomicBool::new(false);
    let pids = thread::scope(|scope| {
        let asks = scope.spawn(|| {
            let began = Instant::now();
            let until = || !done.load(Ordering::Relaxed) && began.elapsed() < RELOADS_IN;
            (0..).take_while(|_| until()).map(ask).collect::<BTreeSet<String>>()
        });
        for _ in 0..RELOADS {
            home.run(&["reload", "web"]).ok();
        }
        done.store(true, Ordering::Relaxed);
        asks.join().expect("all datagrams are answered")
    });
    assert!(pids.len() > before.len(), "only {pids:?} answered");
}

/// Without the order the connections are kept until the drain times out, and are cut then.
#[test]
fn heavy_it_can_be_switched_off() {
    let _exclusive = tests::exclusive();
    let Some(node) = fixtures::need("node") else { return };
    let (home, port) = (tests::home!(), Port::new());
    let command = [node, fixtures::file("node/kept.js"), port.to_string(), "5".to_owned()];
    let options = ["-i", "1", "--no-node-drain", "--drain-timeout", "2s"];
    home.start("web", &options, &command).ok();
    let load = Load { clients: 4, mode: Mode::Kept, ..Load::new(port.v4()) }.start();
    load.warm(20);
    let outcome = home.run(&["reload", "web"]).ok();
    assert!(outcome.stdout.contains(" cut by the drain timeout"), "{outcome:#?}");
    assert!(load.stop().lost() > 0);
}

/// A program that finishes its requests at SIGTERM gets it as soon as its connections stay busy.
#[test]
fn heavy_a_program_that_stops_gracefully_is_told_early() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::python("graceful.py", &[port.number()]) else { return };
    home.start("web", &["-i", "2"], &command).ok();
    nothing_is_lost("graceful.py", &home, "web", port.v4(), "/");
    let log = home.log("web", "primary.log");
    let told = log.matches("to finish: it handles SIGTERM").count();
    assert_eq!(told, 2 * RELOADS, "{log}");
}

/// Hypercorn serves in a child that would die of SIGTERM, and stops it in a way of its own. No
/// request that it has read is cut. It ends a kept connection between two requests without
/// `Connection: close`, with the supervisor and without it.
#[test]
fn heavy_a_program_whose_parent_stops_its_children_is_told_early() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(program) = pip::program("hypercorn") else { return };
    let bind = format!("127.0.0.1:{port}");
    let folder = fixtures::file("servers");
    let command = [program, "--bind".to_owned(), bind, "app:asgi".to_owned()];
    home.start("web", &["-i", "2", "--cwd", &folder], &command).ok();
    let load = Load { clients: 16, mode: Mode::Kept, ..Load::new(port.v4()) }.start();
    load.warm(200);
    for _ in 0..RELOADS {
        let outcome = home.run(&["reload", "web"]).ok();
        assert!(outcome.took < IN_TIME && !outcome.stdout.contains("cut"), "{outcome:#?}");
        load.more(200);
    }
    let tally = load.stop();
    // What a client sends at the moment of such an end may be answered by a reset.
    let ended = tally.count(FaultKind::ClosedIdle) + tally.count(FaultKind::Reset);
    assert!(tally.lost() == ended && tally.ok > 0, "requests are cut: {tally}");
    let log = home.log("web", "primary.log");
    let told = log.matches("to finish: it handles SIGTERM").count();
    assert_eq!(told, 2 * RELOADS, "{log}");
}

/// The primary waits for any other program, counts what is lost at the end and gives the reason.
#[test]
fn heavy_a_program_without_a_handler_is_waited_for() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    let options = ["-i", "1", "--drain-timeout", "4s", "--drain-patience", "1s"];
    home.start("web", &options, &command).ok();
    let load = Load { clients: 4, mode: Mode::Kept, ..Load::new(port.v4()) }.start();
    load.warm(20);
    let outcome = home.run(&["reload", "web", "--json"]).ok();
    let said = outcome.json();
    let cut = said[0]["cut"].as_u64().unwrap_or_default();
    assert!((1..=4).contains(&cut), "{outcome:#?}");
    assert!(said[0]["message"].as_str().unwrap().ends_with(" cut by the drain timeout"));
    assert!(load.stop().lost() > 0);
    let log = home.log("web", "primary.log");
    assert!(log.contains("to end by themselves: it does not handle SIGTERM"), "{log}");
}
