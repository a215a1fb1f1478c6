//! The link with real Node processes: the `node` of this system, and Node 18, 22 and 24 where npm
//! can fetch them. Where there is none, the test says so and passes.

mod driver;

use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::protocol::node::*;
use driver::{Worker, connection, first_line, fixture, get, listener, slot_socket};

fn system_node() -> Option<PathBuf> {
    let found = Command::new("node").args(["-p", "process.execPath"]).output().ok()?;
    Some(PathBuf::from(String::from_utf8(found.stdout).ok()?.trim()))
}

/// One version from npm, which stays beside the build.
fn fetched_node(version: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/node").join(version);
    let node = folder.join("node_modules/.bin/node");
    if !node.exists() {
        std::fs::create_dir_all(&folder).ok()?;
        let npm = Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--silent", "--fetch-retries=0"])
            .args(["--prefix", "."])
            .arg(format!("node@{version}"))
            .current_dir(&folder)
            .output()
            .ok()?;
        if !npm.status.success() {
            return None;
        }
    }
    let ran = Command::new(&node).arg("--version").output().ok()?;
    String::from_utf8(ran.stdout).ok()?.starts_with(&format!("v{version}.")).then_some(node)
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                match system_node() {
                    Some(node) => scenario::$name(&node),
                    None => eprintln!("skipped: there is no `node` here"),
                }
            }
        )*

        fn all(version: &str) {
            match fetched_node(version) {
                Some(node) => {
                    $(
                        eprintln!("node {version}: {}", stringify!($name));
                        scenario::$name(&node);
                    )*
                }
                None => eprintln!("skipped: npm cannot fetch Node {version}"),
            }
        }
    };
}

scenarios! {
    an_unmodified_program_accepts_by_itself
    two_workers_in_the_kernel_engine
    two_workers_in_turn_in_the_primary_engine
    connections_and_long_messages_at_once
    an_address_that_is_taken
    several_servers_and_any_port
    unix_sockets_in_both_engines
    udp_is_shared
    leaves_by_itself
    killed_before_it_took_them
    refuses_one_too_many
    out_of_descriptors
    sends_sockets_itself
}

#[test]
fn node_18() {
    all("18");
}

#[test]
fn node_22() {
    all("22");
}

#[test]
fn node_24() {
    all("24");
}

fn http(name: &str, port: u16) -> Value {
    json!({"do": "listen", "kind": "http", "name": name, "options": {"port": port}})
}

fn net(name: &str, port: u16) -> Value {
    json!({"do": "listen", "kind": "net", "name": name, "options": {"port": port}})
}

mod scenario {
    use super::*;

    pub(super) fn an_unmodified_program_accepts_by_itself(node: &Path) {
        let (socket, address) = slot_socket("127.0.0.1:0".parse().unwrap());
        let mut worker = Worker::start_program(node, 7, &fixture("hello.js"), address.port());
        let (seq, ask, again) = worker.query();
        assert!(!again && ask.listener().starts_with(&format!("null:{}:4:", address.port())));
        worker.link.reply_shared(seq, None, socket).unwrap();
        let (key, _) = worker.listening();
        assert_eq!(key, Some(ask.key()));
        assert_eq!(get(&mut TcpStream::connect(address).unwrap()), "hello from 7");
    }

    pub(super) fn two_workers_in_the_kernel_engine(node: &Path) {
        let (first, address) = slot_socket("127.0.0.1:0".parse().unwrap());
        let (second, _) = slot_socket(address);
        let mut workers = Vec::new();
        for (id, socket) in [(1, first), (2, second)] {
            let mut worker = Worker::start(node, id);
            let who = worker.ask(json!({"do": "who"}), "isWorker");
            assert_eq!(
                who,
                json!({"isWorker": true, "isPrimary": false, "id": id, "env": [],
                    "pid": worker.child.id()})
            );
            let text = "ü\n\u{2028}\"".repeat(30_000);
            let echo = worker.ask(json!({"do": "echo", "value": text}), "echo");
            assert_eq!(echo["echo"], json!(text));
            worker.tell(http("web", address.port()));
            let (seq, ..) = worker.query();
            worker.link.reply_shared(seq, None, socket).unwrap();
            worker.listening();
            workers.push(worker);
        }
        let mut seen: Vec<String> =
            (0..60).map(|_| get(&mut TcpStream::connect(address).unwrap())).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen, ["1 web", "2 web"]);
    }

    pub(super) fn two_workers_in_turn_in_the_primary_engine(node: &Path) {
        let (listener, address) = listener();
        let mut workers = Vec::new();
        for id in 1..=2 {
            let mut worker = Worker::start(node, id);
            let key = worker.serve_round_robin(http("web", address.port()), address);
            assert!(worker.link.takes(&key));
            workers.push((worker, key));
        }
        for turn in 0..200 {
            let (mut client, accepted) = connection(&listener);
            let (worker, key) = &mut workers[turn % 2];
            worker.link.newconn(HandOffId(turn as u64), key, accepted).unwrap();
            worker.until(|word| match word {
                Word::Accepted { id } if id == HandOffId(turn as u64) => Some(()),
                other => panic!("{other:?}"),
            });
            assert_eq!(worker.link.pending(), 0);
            assert_eq!(get(&mut client), format!("{} web", turn % 2 + 1));
        }
    }

    /// Many hand-overs to two servers, while the worker is busy and long messages go both ways. No
    /// connection goes to the wrong server.
    pub(super) fn connections_and_long_messages_at_once(node: &Path) {
        let mut worker = Worker::start(node, 1);
        let ends: Vec<_> = ["a", "b"]
            .map(|name| {
                let (listener, address) = listener();
                let key = worker.serve_round_robin(net(name, address.port()), address);
                (name, listener, key)
            })
            .into();
        let mut clients = Vec::new();
        let mut sent = 0;
        for turn in 0..180_usize {
            if turn % 40 == 0 {
                worker.tell(json!({"do": "busy", "ms": 100}));
            }
            if turn % 7 == 0 {
                let text = "t".repeat(65_000 + turn * 3);
                sent += text.len();
                worker.tell(json!({"do": "count", "text": text}));
            }
            let (name, listener, key) = &ends[turn % 2];
            let (client, accepted) = connection(listener);
            // While much waits, the link refuses more: this is no error, and the test tries again
            // later.
            let mut accepted = Some(accepted);
            while let Some(fd) = accepted.take() {
                if let Err(refused) = worker.link.newconn(HandOffId(turn as u64), key, fd) {
                    assert_eq!(refused.why, Refusal::Full);
                    worker.turn_once(&mut Vec::new());
                    accepted = Some(refused.fd);
                }
            }
            worker.flush();
            clients.push((name, client));
        }
        assert_eq!(worker.ask(json!({"do": "counted"}), "counted"), json!({"counted": sent}));
        assert_eq!(worker.link.pending(), 0);
        for (name, client) in clients {
            assert_eq!(first_line(&client), format!("1 {name}"));
        }
    }

    pub(super) fn an_address_that_is_taken(node: &Path) {
        let mut worker = Worker::start(node, 1);
        for kind in ["http", "tls"] {
            let listen = json!({"do": "listen", "kind": kind, "name": kind,
                "options": {"port": 80}});
            worker.tell(listen.clone());
            let (seq, ..) = worker.query();
            worker.link.reply_error(seq, None, 98).unwrap();
            let error = worker.answer("error");
            assert_eq!(error, json!({"name": kind, "error": "EADDRINUSE"}));
            // It may try again.
            worker.tell(listen);
            let (seq, _, again) = worker.query();
            assert!(!again);
            worker.link.reply_round_robin(seq, None, Some("[::]:80".parse().unwrap())).unwrap();
            assert_eq!(worker.answer("address")["address"]["port"], 80);
            worker.ask(json!({"do": "close", "name": kind}), "closed");
        }
    }

    pub(super) fn several_servers_and_any_port(node: &Path) {
        let mut worker = Worker::start(node, 1);
        let (any, any_address) = slot_socket("127.0.0.1:0".parse().unwrap());
        worker.tell(http("any", 0));
        let (seq, first, _) = worker.query();
        worker.link.reply_shared(seq, None, any).unwrap();
        let (key, listening) = worker.listening();
        assert_eq!(key, Some(first.key()));
        assert_eq!(listening.port, Some(any_address.port().into()));

        worker.tell(http("other any", 0));
        let (seq, second, again) = worker.query();
        assert!(!again && first.listener() != second.listener());
        let other = "127.0.0.1:4711".parse().unwrap();
        worker.link.reply_round_robin(seq, None, Some(other)).unwrap();
        assert_eq!(worker.answer("address")["address"]["port"], 4711);

        // The same address twice, then after closing the first.
        let (_listener, address) = listener();
        let key = worker.serve_round_robin(http("one", address.port()), address);
        worker.tell(http("two", address.port()));
        let (seq, ask, again) = worker.query();
        assert!(again && ask.key() != key);
        worker.link.reply_error(seq, None, -98).unwrap();
        assert_eq!(worker.answer("error")["error"], "EADDRINUSE");
        worker.tell(json!({"do": "close", "name": "one"}));
        worker.until(|word| {
            matches!(word, Word::Closed { key: closed } if closed == key).then_some(())
        });
        assert!(!worker.link.takes(&key));
        worker.tell(http("three", address.port()));
        assert!(!worker.query().2);

        // An exclusive server binds by itself and asks no primary.
        let (free, free_address) = listener();
        drop(free);
        let address = worker.ask(
            json!({"do": "listen", "kind": "http", "name": "own",
                "options": {"port": free_address.port(), "host": "127.0.0.1", "exclusive": true}}),
            "address",
        );
        assert_eq!(address["address"]["port"], free_address.port());
        assert_eq!(get(&mut TcpStream::connect(free_address).unwrap()), "1 own");
    }

    pub(super) fn unix_sockets_in_both_engines(node: &Path) {
        let folder = tempfile::tempdir().unwrap();
        let mut worker = Worker::start(node, 1);
        for shared in [true, false] {
            let path = folder.path().join(if shared { "kernel" } else { "primary" });
            let listener = UnixListener::bind(&path).unwrap();
            listener.set_nonblocking(true).unwrap();
            worker.tell(json!({"do": "listen", "kind": "http", "name": "unix",
                "options": {"path": path}}));
            let (seq, ask, _) = worker.query();
            let wanted = ipc::node::Wanted::Unix {
                path: path.clone(),
                readable_all: false,
                writable_all: false,
            };
            assert_eq!(ask.wanted().unwrap(), wanted);
            let mut client = UnixStream::connect(&path).unwrap();
            if shared {
                worker.link.reply_shared(seq, None, listener.into()).unwrap();
                assert_eq!(worker.listening().0, Some(ask.key()));
            } else {
                worker.link.reply_round_robin(seq, None, None).unwrap();
                assert_eq!(worker.listening().0, Some(ask.key()));
                let (accepted, _) = listener.accept().unwrap();
                accepted.set_nonblocking(true).unwrap();
                worker.link.newconn(HandOffId(0), &ask.key(), accepted.into()).unwrap();
                worker.until(|word| matches!(word, Word::Accepted { .. }).then_some(()));
            }
            assert_eq!(get(&mut client), "1 unix");
        }
    }

    pub(super) fn udp_is_shared(node: &Path) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let mut workers = Vec::new();
        for id in 1..=2 {
            let mut worker = Worker::start(node, id);
            worker.tell(json!({"do": "udp", "name": "udp", "options":
                {"address": "127.0.0.1", "port": address.port()}}));
            let (seq, ask, _) = worker.query();
            let wanted = ipc::node::Wanted::Udp { address, v6only: false, reuse_address: false };
            assert_eq!(ask.wanted().unwrap(), wanted);
            let fd = socket.try_clone().unwrap().into();
            worker.link.reply_shared(seq, None, fd).unwrap();
            assert_eq!(worker.answer("address")["address"]["port"], address.port());
            workers.push(worker);
        }
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        client.send_to(b"hello", address).unwrap();
        let mut buffer = [0; 64];
        let count = loop {
            match client.recv(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => break read.unwrap(),
            }
        };
        assert!(matches!(&buffer[..count], b"1 hello" | b"2 hello"));
    }

    pub(super) fn leaves_by_itself(node: &Path) {
        let (_listener, address) = listener();
        let mut worker = Worker::start(node, 1);
        let key = worker.serve_round_robin(http("web", address.port()), address);
        worker.tell(json!({"do": "disconnect"}));
        worker.until(|word| {
            matches!(word, Word::Closed { key: closed } if closed == key).then_some(())
        });
        worker.until(|word| matches!(word, Word::Leaving).then_some(()));
        assert_eq!(worker.exit().code(), Some(0));
    }

    pub(super) fn killed_before_it_took_them(node: &Path) {
        let (listener, address) = listener();
        let mut doomed = Worker::start(node, 1);
        let mut other = Worker::start(node, 2);
        let key = doomed.serve_round_robin(http("web", address.port()), address);
        other.serve_round_robin(http("web", address.port()), address);
        kill(Pid::from_raw(doomed.child.id() as i32), Signal::SIGSTOP).unwrap();
        let mut clients = Vec::new();
        for id in 0..3 {
            let (client, accepted) = connection(&listener);
            doomed.link.newconn(HandOffId(id), &key, accepted).unwrap();
            clients.push(client);
        }
        doomed.flush();
        assert!(doomed.link.next_packet().is_none(), "all three were sent");
        doomed.child.kill().unwrap();
        doomed.exit();
        let back = doomed.link.take_back();
        assert_eq!(back.len(), 3);
        for taken in back {
            assert!(!taken.arrived && driver::is_open(&taken.fd));
            other.link.newconn(taken.id, &key, taken.fd).unwrap();
        }
        for mut client in clients {
            other.until(|word| matches!(word, Word::Accepted { .. }).then_some(()));
            assert_eq!(get(&mut client), "2 web");
        }
    }

    pub(super) fn refuses_one_too_many(node: &Path) {
        let (listener, address) = listener();
        let mut worker = Worker::start(node, 1);
        let mut listen = net("one", address.port());
        listen["maxConnections"] = 1.into();
        let key = worker.serve_round_robin(listen, address);
        let (_first, accepted) = connection(&listener);
        worker.link.newconn(HandOffId(0), &key, accepted).unwrap();
        let (second, accepted) = connection(&listener);
        worker.link.newconn(HandOffId(1), &key, accepted).unwrap();
        let fd = worker.until(|word| match word {
            Word::Refused { id: HandOffId(1), fd } => Some(fd),
            _ => None,
        });
        // The worker is as good as new.
        let mut other = Worker::start(node, 2);
        let key = other.serve_round_robin(net("two", address.port()), address);
        other.link.newconn(HandOffId(1), &key, fd).unwrap();
        other.until(|word| matches!(word, Word::Accepted { .. }).then_some(()));
        assert_eq!(first_line(&second), "2 two");
    }

    pub(super) fn out_of_descriptors(node: &Path) {
        let (listener, address) = listener();
        let mut worker = Worker::start(node, 1);
        let key = worker.serve_round_robin(net("one", address.port()), address);
        worker.ask(json!({"do": "exhaust"}), "exhausted");
        let (client, accepted) = connection(&listener);
        worker.link.newconn(HandOffId(0), &key, accepted).unwrap();
        let fd = worker.until(|word| match word {
            Word::Refused { id: HandOffId(0), fd } => Some(fd),
            Word::Accepted { .. } => panic!("it had no descriptor for it"),
            _ => None,
        });
        worker.ask(json!({"do": "relieve"}), "relieved");
        worker.link.newconn(HandOffId(0), &key, fd).unwrap();
        worker.until(|word| matches!(word, Word::Accepted { .. }).then_some(()));
        assert_eq!(first_line(&client), "1 one");
    }

    pub(super) fn sends_sockets_itself(node: &Path) {
        let mut worker = Worker::start(node, 1);
        worker.tell(json!({"do": "sockets"}));
        let mut said = Vec::new();
        while said.len() < 4 {
            said.push(worker.until(|word| match word {
                Word::Message(message) => Some((message.value().unwrap(), None)),
                Word::Handle { kind, message, fd } => {
                    assert!(driver::is_open(&fd));
                    Some((message.value().unwrap(), Some(kind)))
                }
                _ => None,
            }));
        }
        assert_eq!(
            said,
            [
                (json!("a server"), Some(HandleKind::NetServer)),
                (json!("after the server"), None),
                (json!("a socket"), Some(HandleKind::NetSocket)),
                (json!("after the socket"), None),
            ]
        );
    }
}
