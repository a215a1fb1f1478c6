//! Node's cluster API: a program follows the test's orders, under Node's own primary and under
//! ours, in both engines and with every Node at hand. All runs must give the same results.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use ipc::control::WorkerState;
use serde_json::{Value, json};
use tests::http::{self, Answer, Connection};
use tests::node::{self, Nodes};
use tests::scripted_cluster::{Cluster, WORKERS};
use tests::wait::uninterrupted;
use tests::{Load, Port, fixtures, wait};

const SOON: Duration = Duration::from_secs(30);
/// Fifty restarts of a program on a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// Tests of these scenarios: fast ones with the newest Node, heavy ones with all others.
macro_rules! scenarios {
    ($($name:ident)*) => {
        mod newest {
            $(#[test]
            fn $name() {
                super::$name(&tests::node::newest());
            })*
        }

        mod heavy_older {
            $(#[test]
            fn $name() {
                let _load = tests::under_load();
                super::$name(&tests::node::older());
            })*
        }
    };
}

scenarios! {
    messages_go_both_ways
    ways_to_leave
    a_worker_that_disconnects_finishes_its_requests
    addresses_of_servers
    port_0_is_one_port_for_all
    an_exclusive_port_is_the_worker_s_own
    reuse_port_shares
    a_port_that_is_taken
    a_port_that_the_same_worker_has
    addresses_that_are_not_available
    unix_sockets
    udp_is_shared
    exclusive_udp_is_the_worker_s_own
    closed_and_opened_again
}

/// Runs a scenario everywhere. It must return the same value everywhere.
#[track_caller]
fn same(nodes: &Nodes, scenario: impl Fn(&mut Cluster) -> Value) {
    for (version, node) in nodes {
        let theirs = scenario(&mut Cluster::theirs(tests::home!(), node));
        for engine in ["kernel", "primary"] {
            eprintln!("Node {version}, engine {engine}");
            let ours = scenario(&mut Cluster::ours(tests::home!(), node, engine));
            assert_eq!(ours, theirs, "Node {version}, engine {engine}: ours, theirs");
        }
        println!("Node {version}: {theirs}");
    }
}

/// The value with every occurrence of this text, which differs from run to run, replaced.
fn hide(value: impl Into<Value>, text: impl ToString) -> Value {
    let text = text.to_string();
    match value.into() {
        Value::Array(all) => all.into_iter().map(|one| hide(one, &text)).collect(),
        Value::Object(all) => all.into_iter().map(|(key, one)| (key, hide(one, &text))).collect(),
        Value::Number(number) if number.to_string() == text => json!("HIDDEN"),
        Value::String(all) => json!(all.replace(&text, "HIDDEN")),
        other => other,
    }
}

#[track_caller]
fn get(address: SocketAddr) -> Answer {
    http::get(address, SOON).unwrap_or_else(|fault| panic!("{address}: {fault}"))
}

/// The values of `key=` in the answers to many requests.
#[track_caller]
fn seen(address: SocketAddr, key: &str) -> BTreeSet<String> {
    (0..40).map(|_| get(address).value(key).expect("a value").to_owned()).collect()
}

fn port_of(said: &Value) -> u16 {
    let port = said["address"]["port"].as_u64().and_then(|port| port.try_into().ok());
    port.unwrap_or_else(|| panic!("no port: {said}"))
}

fn v4(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn messages_go_both_ways(nodes: &Nodes) {
    same(nodes, |cluster| {
        let long = "x".repeat(500_000) + "end.\u{20ac}";
        let values = [
            json!("a text"),
            json!(""),
            json!(4.5),
            json!(-7),
            json!(false),
            json!(null),
            json!([]),
            json!({"deep": [{"er": {"and": ["deeper", null]}}]}),
            json!("\u{20ac} \n \u{1f600} \u{0} \\"),
        ];
        let echo =
            |cluster: &mut Cluster, value| cluster.ask(&json!({"do": "echo", "value": value}));
        let mut all: Vec<_> = values.iter().map(|value| echo(cluster, value)).collect();
        all.push(cluster.ask(&json!({"do": "measure", "value": long})));
        // In order, to one worker.
        for number in 0..200 {
            cluster.tell(Some(1), &json!({"do": "echo", "value": number}));
        }
        let numbers = cluster.said(200);
        assert!(numbers.iter().enumerate().all(|(n, said)| said["echo"] == n), "{numbers:?}");
        cluster.tell(Some(0), &json!({"do": "callback"}));
        all.push(cluster.said(2));
        json!(all)
    });
}

/// Lets a worker leave in this way. Returns its answer, its exit code, and what it logged.
fn leaving(cluster: &mut Cluster, how: &str) -> Value {
    let said = cluster.ask_one(0, &json!({"do": "leave", "how": how}));
    let (slot, code) = cluster.end();
    assert_eq!(slot, 0);
    let log = wait::try_until(Duration::from_secs(2), || {
        let log = cluster.log();
        log.lines().find_map(|line| Some(line.split_once("disconnected,")?.1.to_owned()))
    });
    json!([said, code, log])
}

fn ways_to_leave(nodes: &Nodes) {
    for how in ["disconnect", "kill", "process.disconnect", "exit", "throw"] {
        same(nodes, |cluster| leaving(cluster, how));
    }
}

/// A worker that disconnects gets no new connections, and finishes what it has.
fn a_worker_that_disconnects_finishes_its_requests(nodes: &Nodes) {
    same(nodes, |cluster| {
        let port = Port::new();
        let address = port.v4();
        cluster.ask(&json!({"do": "listen", "name": "a", "options": {"port": port.number()}}));
        assert_eq!(seen(address, "pid").len(), WORKERS, "both serve");
        let slow = move || Connection::open(address, SOON).and_then(|mut c| c.get("/slow", true));
        let slow: Vec<_> = (0..8).map(|_| thread::spawn(slow)).collect();
        cluster.said(slow.len());
        cluster.ask_one(0, &json!({"do": "leave", "how": "disconnect"}));
        // The other worker answers, and later a replacement.
        let others = seen(address, "pid");
        cluster.home.write("finish", "");
        let answers = slow.into_iter().map(|one| one.join().expect("no panic").expect("answered"));
        let pids: BTreeSet<_> = answers.filter_map(|answer| answer.pid()).collect();
        assert_eq!(pids.len(), WORKERS, "both had slow requests");
        json!([cluster.end(), others.len()])
    });
}

fn addresses_of_servers(nodes: &Nodes) {
    same(nodes, |cluster| {
        let mut all = Vec::new();
        let each = [
            json!({}),
            json!({"host": "::"}),
            json!({"host": "0.0.0.0"}),
            json!({"host": "127.0.0.1"}),
            json!({"host": "localhost"}),
            json!({"host": "::1"}),
            json!({"host": "::", "ipv6Only": true}),
            json!({"host": "127.0.0.2", "backlog": 10}),
        ];
        for (number, mut options) in each.into_iter().enumerate() {
            let port = Port::new();
            options["port"] = json!(port.number());
            let said = cluster.ask(&json!({"do": "listen", "name": number, "options": options}));
            let reached = [port.v4(), port.v6()].map(|at| http::get(at, SOON).is_ok());
            all.push(json!([hide(said, &port), reached]));
        }
        json!(all)
    });
}

fn port_0_is_one_port_for_all(nodes: &Nodes) {
    same(nodes, |cluster| {
        let listen = |name| json!({"do": "listen", "name": name, "options": {"port": 0}});
        let (a, b) = (cluster.ask(&listen("a")), cluster.ask(&listen("b")));
        let (port, other) = (port_of(&a[0]), port_of(&b[0]));
        assert!(port != other && port_of(&a[1]) == port && port_of(&b[1]) == other, "{a:?} {b:?}");
        let names =
            [port, other].map(|port| (seen(v4(port), "server"), seen(v4(port), "pid").len()));
        json!([hide(a, port), hide(b, other), names])
    });
}

fn an_exclusive_port_is_the_worker_s_own(nodes: &Nodes) {
    same(nodes, |cluster| {
        let options = json!({"port": 0, "host": "127.0.0.1", "exclusive": true});
        let all = cluster.ask(&json!({"do": "listen", "name": "a", "options": options}));
        let ports: Vec<u16> = all.iter().map(port_of).collect();
        assert_ne!(ports[0], ports[1]);
        let pids: Vec<_> = ports.iter().map(|port| seen(v4(*port), "pid")).collect();
        assert!(pids.iter().all(|pids| pids.len() == 1) && pids[0] != pids[1], "{pids:?}");
        json!(all.iter().zip(ports).map(|(one, port)| hide(one.clone(), port)).collect::<Vec<_>>())
    });
}

fn reuse_port_shares(nodes: &Nodes) {
    same(nodes, |cluster| {
        let port = Port::new();
        let options = json!({"port": port.number(), "host": "127.0.0.1", "reusePort": true});
        let all = cluster.ask(&json!({"do": "listen", "name": "a", "options": options}));
        json!([hide(all, &port), seen(port.v4(), "pid").len()])
    });
}

fn a_port_that_is_taken(nodes: &Nodes) {
    same(nodes, |cluster| {
        let mut all = Vec::new();
        let hosts = [json!({}), json!({"host": "127.0.0.1"}), json!({"host": "::1"})];
        for (number, mut options) in hosts.into_iter().enumerate() {
            let port = Port::new();
            let stranger = TcpListener::bind(("::", port.number())).expect("take the port");
            options["port"] = json!(port.number());
            let listen = json!({"do": "listen", "name": number, "options": options});
            let said = cluster.ask(&listen);
            assert_eq!(said[0]["error"]["code"], "EADDRINUSE", "{said:?}");
            all.push(hide(said, &port));
            drop(stranger);
            port.wait_until_free();
            all.push(hide(cluster.ask(&listen), &port));
        }
        json!(all)
    });
}

/// The same worker, the same port, two servers.
fn a_port_that_the_same_worker_has(nodes: &Nodes) {
    same(nodes, |cluster| {
        let port = Port::new();
        let listen =
            |name| json!({"do": "listen", "name": name, "options": {"port": port.number()}});
        let all = [cluster.ask(&listen("a")), cluster.ask(&listen("b"))];
        json!([hide(all, &port), seen(port.v4(), "server")])
    });
}

fn addresses_that_are_not_available(nodes: &Nodes) {
    same(nodes, |cluster| {
        let port = Port::new();
        let nowhere = cluster.path("no/such/folder/socket");
        let each = [
            json!({"port": port.number(), "host": "192.0.2.1"}),
            json!({"port": port.number(), "host": "2001:db8::1"}),
            json!({"path": nowhere}),
        ];
        let listen = |options| json!({"do": "listen", "name": "a", "options": options});
        let all: Vec<_> = each.into_iter().map(|each| cluster.ask(&listen(each))).collect();
        hide(hide(all, &port), cluster.home.path().display())
    });
}

fn unix_sockets(nodes: &Nodes) {
    same(nodes, |cluster| {
        let path = cluster.path("http.sock");
        let listen = json!({"do": "listen", "name": "a", "options": {"path": path}});
        let stranger = UnixListener::bind(&path).expect("take the path");
        let taken = cluster.ask(&listen);
        assert_eq!(taken[0]["error"]["code"], "EADDRINUSE", "{taken:?}");
        drop(stranger);
        fs::remove_file(&path).expect("give the path back");
        let said = cluster.ask(&listen);
        // The kernel chooses which worker answers.
        let mut stream = UnixStream::connect(&path).expect("connect");
        stream.set_read_timeout(Some(SOON)).expect("set a limit");
        write!(stream, "GET / HTTP/1.0\r\n\r\n").expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.ends_with(" server=a\n"), "{answer}");
        hide(json!([taken, said]), cluster.home.path().display())
    });
}

fn udp_is_shared(nodes: &Nodes) {
    same(nodes, |cluster| {
        let port = Port::new();
        let bind = |name, port: u16| {
            let options = json!({"port": port, "address": "127.0.0.1"});
            json!({"do": "bind", "name": name, "options": options})
        };
        let stranger = UdpSocket::bind(port.v4()).expect("take the port");
        let taken = cluster.ask(&bind("taken", port.number()));
        assert_eq!(taken[0]["error"]["code"], "EADDRINUSE", "{taken:?}");
        drop(stranger);
        port.wait_until_free();
        let fixed = cluster.ask(&bind("a", port.number()));
        let any = cluster.ask(&bind("b", 0));
        let number = port_of(&any[0]);
        assert_eq!(port_of(&any[1]), number);
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a client");
        client.set_read_timeout(Some(Duration::from_secs(2))).expect("set a limit");
        let echoed = |text: &str, port: u16| {
            let mut bytes = [0; 100];
            // A datagram may be lost.
            let mut ask = |_| {
                client.send_to(text.as_bytes(), v4(port)).expect("send");
                uninterrupted(|| client.recv_from(&mut bytes)).ok()
            };
            let (count, from) = (0..5).find_map(&mut ask).expect("an answer");
            assert_eq!(from, v4(port));
            let answer = String::from_utf8_lossy(&bytes[..count]).into_owned();
            answer.split_once(' ').expect("a pid and a text").1.to_owned()
        };
        let echoed = [echoed("one", port.number()), echoed("two", number)];
        json!([hide(taken, &port), hide(fixed, &port), hide(any, number), echoed])
    });
}

fn exclusive_udp_is_the_worker_s_own(nodes: &Nodes) {
    same(nodes, |cluster| {
        let options = json!({"port": 0, "address": "127.0.0.1", "exclusive": true});
        let all = cluster.ask(&json!({"do": "bind", "name": "a", "options": options}));
        let ports: Vec<u16> = all.iter().map(port_of).collect();
        assert_ne!(ports[0], ports[1]);
        json!(all.iter().zip(ports).map(|(one, port)| hide(one.clone(), port)).collect::<Vec<_>>())
    });
}

/// A worker that has closed its server gets no connections, and may listen again.
fn closed_and_opened_again(nodes: &Nodes) {
    same(nodes, |cluster| {
        let port = Port::new();
        let listen =
            |name| json!({"do": "listen", "name": name, "options": {"port": port.number()}});
        let mut all = vec![cluster.ask(&listen("a"))];
        assert_eq!(seen(port.v4(), "pid").len(), WORKERS);
        for round in 0..3 {
            all.push(vec![cluster.ask_one(0, &json!({"do": "close", "name": "a"}))]);
            assert_eq!(seen(port.v4(), "pid").len(), 1, "round {round}: the other one answers");
            all.push(vec![cluster.ask_one(0, &listen("a"))]);
            assert_eq!(seen(port.v4(), "pid").len(), WORKERS, "round {round}: both answer again");
        }
        hide(all, &port)
    });
}

/// Workers that leave after some requests, as programs with a leak do. The connections in their
/// queues go to other workers, and leaving often is no failure.
#[test]
fn heavy_workers_that_renew_themselves() {
    let _exclusive = tests::exclusive();
    for (version, node) in node::all() {
        for engine in ["kernel", "primary"] {
            let (home, port) = (tests::home!(), Port::new());
            let command = [&node, &fixtures::file("node/renewed.js"), &port.to_string()];
            let options = ["-i", "3", "--min-uptime", "50ms", "--engine", engine];
            home.start("web", &options, &command).ok();
            let load = Load::new(port.v4()).start();
            let app = home.wait_app("web", "many restarts", LONG, |app| app.restarts >= 50);
            let tally = load.stop().nothing_lost(&format!("Node {version}, engine {engine}"));
            assert!(tally.by_pid.len() >= 50, "{tally}");
            assert!(app.workers.iter().all(|w| w.state != WorkerState::Errored), "{app:#?}");
        }
    }
}

/// Connections that wait for a worker when it closes its server are served by others at once.
#[test]
fn heavy_closed_under_load() {
    let _exclusive = tests::exclusive();
    let Some(node) = fixtures::need("node") else { return };
    for engine in ["kernel", "primary"] {
        let mut cluster = Cluster::ours(tests::home!(), &node, engine);
        let port = Port::new();
        let listen = json!({"do": "listen", "name": "a", "options": {"port": port.number()}});
        cluster.ask(&listen);
        for round in 0..3 {
            let mut load = Load::new(port.v4());
            load.hang = Duration::from_secs(3);
            let load = load.start();
            load.warm(200);
            cluster.ask_one(0, &json!({"do": "close", "name": "a"}));
            // Long enough for a forgotten client to count as hung.
            let hung = load.so_far().took + Duration::from_secs(4);
            wait::wait_until("hung clients", SOON, || (load.so_far().took > hung).then_some(()));
            load.stop().nothing_lost(&format!("engine {engine}, round {round}"));
            cluster.ask_one(0, &listen);
        }
    }
}
