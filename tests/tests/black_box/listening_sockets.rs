//! Programs that treat their listening socket in their own way: they shut it down, and listen
//! again. It is lent; what they do to it must not reach the sockets of other workers.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use ipc::control::Status;
use nix::sys::signal::Signal;
use tests::client::Running;
use tests::http::Connection;
use tests::{Home, Load, Port, fixtures, process};

const PATIENCE: Duration = Duration::from_secs(10);

fn start(home: &Home, port: &Port, workers: &str) -> Option<()> {
    let command = fixtures::python("shuts_down.py", &[port.to_string()])?;
    home.start("web", &["-i", workers, "--min-uptime", "300ms"], &command).ok();
    Some(())
}

/// The generations that answer 200 new connections.
fn generations(port: &Port) -> Vec<u32> {
    let mut all: Vec<u32> = (0..200)
        .map(|_| {
            let mut connection = Connection::open(port.v4(), PATIENCE).expect("an answer");
            let answer = connection.get("/", true).expect("an answer");
            answer.value("generation").and_then(|text| text.parse().ok()).expect("a generation")
        })
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Eight clients that make new connections.
fn load_of_eight(port: &Port) -> Running {
    let mut load = Load::new(port.v4());
    load.clients = 8;
    let load = load.start();
    load.warm(50);
    load
}

/// Each worker shuts down a socket of the group when it is told to stop. The kernel would move the
/// last socket into its place, and the new connections of one worker would reach another.
#[test]
fn heavy_a_worker_that_shuts_its_socket_down_disturbs_no_other() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(()) = start(&home, &port, "3") else { return };
    let load = load_of_eight(&port);
    for generation in 2..=5 {
        let outcome = home.run(&["reload", "web"]).ok();
        // Its accept fails at once, as without us: nobody waits until it is killed.
        assert!(outcome.took < Duration::from_secs(9), "{outcome:#?}");
        assert_eq!(generations(&port), [generation]);
    }
    load.stop().nothing_lost("4 reloads of workers that shut their listening socket down");
    let log = home.log("web", "out.log");
    assert_eq!(log.matches("accept failed: Invalid argument").count(), 12, "{log}");
}

/// The same of its own accord, while the others serve: what waits in its socket is served.
#[test]
fn heavy_a_worker_that_shuts_down_by_itself_loses_nothing() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(()) = start(&home, &port, "3") else { return };
    let load = load_of_eight(&port);
    for round in 1..=6 {
        let pid = home.pids("web")[0];
        process::kill(pid, Signal::SIGUSR1);
        home.wait_app("web", "its successor", PATIENCE, |app| {
            let restarts: u64 = app.workers.iter().map(|worker| worker.restarts).sum();
            app.ready == 3 && restarts >= round && app.workers.iter().all(|w| w.pid != Some(pid))
        });
    }
    load.stop().nothing_lost("6 workers that shut their socket down by themselves");
}

/// There is nobody else to steer to. Its accept fails all the same, and the next worker serves.
#[test]
fn the_only_worker_that_shuts_down_ends_and_is_replaced() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(()) = start(&home, &port, "1") else { return };
    let pid = home.pids("web")[0];
    process::kill(pid, Signal::SIGUSR1);
    let app = home.wait_app("web", "its successor", PATIENCE, |app| {
        app.status == Status::Ready && app.workers.iter().all(|worker| worker.pid != Some(pid))
    });
    assert_eq!(app.ready, 1);
    assert_eq!(generations(&port), [1]);
}

/// A program that listens anew with SO_REUSEPORT and closes its old socket: what nobody accepts
/// from gets nothing any more.
#[test]
fn a_closed_socket_gets_no_new_connections() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::python("rebinds.py", &[port.to_string()]) else { return };
    home.start("web", &["-i", "2", "--min-uptime", "300ms"], &command).ok();
    let pid = home.pids("web")[0];
    process::kill(pid, Signal::SIGUSR1);
    tests::wait_until("the second socket", PATIENCE, || {
        home.log("web", "out.log").contains("rebound").then_some(())
    });
    // The aim is a second.
    tests::wait::let_pass(Duration::from_secs(1));
    let mut load = Load::new(port.v4());
    load.clients = 4;
    load.requests = 200;
    load.hang = Duration::from_secs(2);
    let tally = load.run().nothing_lost("after a worker closed one of its sockets");
    assert!(tally.by_pid.contains_key(&pid), "its second socket serves: {tally}");
    let outcome = home.run(&["reload", "web"]).ok();
    assert!(outcome.took < PATIENCE, "{outcome:#?}");
}

/// A program that opens a port for each transfer, as FTP does. By hand a closed port refuses
/// connections, and no number of them is too many.
#[test]
fn a_port_that_a_worker_opened_for_a_while_is_given_back() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::python("transfers.py", &[port.to_string()]) else { return };
    let options = ["-i", "1", "--min-uptime", "300ms", "--listen-wait", "300ms"];
    home.start("web", &options, &command).ok();
    // What a worker opens this long after it was ready is no address of the app.
    tests::wait::let_pass(Duration::from_millis(1200));
    let mut last = None;
    for _ in 0..20 {
        let mut connection = Connection::open(port.v4(), PATIENCE).expect("an answer");
        let answer = connection.get("/transfer", true).expect("an answer");
        let text = answer.value("transfer").expect("the port of a transfer");
        let transfer: SocketAddr = text.parse().expect("an address");
        let mut byte = [0];
        let mut data = TcpStream::connect(transfer).expect("the port is open");
        data.read_exact(&mut byte).expect("the transfer");
        last = Some(transfer);
    }
    let app = home
        .wait_app("web", "the ports to be given back", PATIENCE, |app| app.listeners.len() == 1);
    assert_eq!((app.status, app.restarts), (Status::Ready, 0));
    let refused = TcpStream::connect(last.expect("there was one")).expect_err("it is closed");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(generations(&port), [1]);
    home.run(&["reload", "web"]).ok();
    assert_eq!(generations(&port), [2]);
}

/// What a program binds and connects from is its own: the peer sees the end of each connection, and
/// the port is nothing that the app serves.
#[test]
fn a_program_connects_from_a_fixed_source_port() {
    let (home, port, source) = (tests::home!(), Port::new(), Port::new());
    let peers = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let ports = peers.each_ref().map(|peer| peer.local_addr().expect("its address").port());
    let arguments = [port.number(), source.number(), ports[0], ports[1]];
    let Some(command) = fixtures::python("source_port.py", &arguments) else { return };
    home.start("web", &["-i", "1", "--min-uptime", "300ms"], &command).ok();
    for peer in &peers {
        let (mut connection, from) = peer.accept().expect("a connection");
        assert_eq!(from.port(), source.number());
        connection.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        let mut heard = String::new();
        connection.read_to_string(&mut heard).expect("the end of the connection");
        assert_eq!(heard, "hello");
    }
    let app = home.app("web");
    let addresses: Vec<&str> = app.listeners.iter().map(|l| l.address.as_str()).collect();
    assert_eq!(addresses, [port.v4().to_string()], "{app:#?}");
}

/// After `bind` no socket listens, also where the last worker of the slot listened.
#[test]
fn a_bound_socket_does_not_listen_yet() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::python("listens_once.py", &[port.to_string()]) else { return };
    home.start("web", &["-i", "2", "--min-uptime", "300ms"], &command).ok();
    for _ in 0..3 {
        home.run(&["reload", "web"]).ok();
    }
    process::kill(home.pids("web")[0], Signal::SIGKILL);
    let expected = format!("listens=0 at={port}");
    tests::wait_until("the ninth worker", PATIENCE, || {
        (home.log("web", "out.log").matches(&expected).count() == 9).then_some(())
    });
    home.wait_app("web", "its successor", PATIENCE, |app| app.ready == 2);
    assert!(!home.log("web", "out.log").contains("listens=1"));
    assert_eq!(workers_that_answer(&home, &port), 2, "both workers answer");
}

/// How many workers answer 100 new connections.
fn workers_that_answer(home: &Home, port: &Port) -> usize {
    let mut load = Load::new(port.v4());
    load.requests = 100;
    let tally = load.run().nothing_lost("the workers");
    let pids = home.pids("web");
    tally.by_pid.keys().filter(|pid| pids.contains(pid)).count()
}

/// HAProxy asks the kernel whether its socket listens.
#[test]
fn haproxy_is_reloaded() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(haproxy) = fixtures::need("haproxy") else { return };
    let text = format!(
        "defaults\n mode http\n timeout client 5s\n timeout connect 5s\n timeout server 5s\n\
         frontend web\n bind 127.0.0.1:{port}\n http-request return status 200 content-type \
         text/plain lf-string \"generation=%[env(SUPERVISOR_GENERATION)]\\n\"\n"
    );
    let file = home.write("haproxy.cfg", &text).display().to_string();
    home.start("web", &["-i", "2"], &[haproxy, "-f".to_owned(), file]).ok();
    for generation in 2..=3 {
        let outcome = home.run(&["reload", "web"]).ok();
        assert!(outcome.took < Duration::from_secs(20), "{outcome:#?}");
        assert_eq!(generations(&port), [generation]);
    }
}

/// Sockets that are shared before anybody listens: by children that listen or accept, or by a copy.
#[test]
fn a_socket_that_is_shared_before_it_listens_serves() {
    for how in ["children", "parent", "copy"] {
        let (home, port) = (tests::home!(), Port::new());
        let arguments = [port.to_string(), how.to_owned()];
        let Some(command) = fixtures::python("binds_then_shares.py", &arguments) else { return };
        home.start("web", &["-i", "2", "--min-uptime", "300ms"], &command).ok();
        for _ in 0..3 {
            home.run(&["reload", "web"]).ok();
            let mut load = Load::new(port.v4());
            load.requests = 100;
            let tally = load.run().nothing_lost(how);
            assert!(tally.by_pid.len() >= 2, "{how}: both workers answer: {tally}");
        }
        let log = home.log("web", "out.log");
        let each = if how == "copy" { 1 } else { 2 };
        assert_eq!(log.matches("timeout=7").count(), 8 * each, "{how}: {log}");
    }
}

/// A port of another network namespace is not ours to serve: in ours it would be exposed.
#[test]
fn a_worker_in_another_network_listens_there() {
    if !fixtures::need_root("network namespaces") {
        return;
    }
    let (home, port) = (tests::home!(), Port::new());
    let (Some(_), Some(server)) = (fixtures::need("unshare"), fixtures::pid_server(&port)) else {
        return;
    };
    let command = [vec!["unshare".to_owned(), "--net".to_owned()], server].concat();
    home.start("web", &["-i", "1", "--min-uptime", "300ms", "--listen-wait", "2s"], &command).ok();
    assert!(Connection::open(port.v4(), PATIENCE).is_err(), "it is reached from outside");
    let app = home.app("web");
    assert_eq!(app.listeners.len(), 0, "{app:#?}");
    assert!(app.notes.iter().any(|note| note.contains("network namespace")), "{app:#?}");
}

/// An app that a worker of another app starts is an app of its own.
#[test]
fn an_app_that_a_worker_starts_is_of_its_own() {
    let home = tests::home!();
    let (outer, inner) = (Port::new(), Port::new());
    let (Some(first), Some(second)) = (fixtures::pid_server(&outer), fixtures::pid_server(&inner))
    else {
        return;
    };
    let script = format!(
        "{} start --name inner --min-uptime 300ms -- {}; exec {}",
        home.binary().display(),
        second.join(" "),
        first.join(" ")
    );
    let command = ["sh".to_owned(), "-c".to_owned(), script];
    home.start("outer", &["--min-uptime", "300ms", "--listen-wait", "20s"], &command).ok();
    let of = |app: &str| home.app(app).listeners.into_iter().map(|l| l.address).collect::<Vec<_>>();
    assert_eq!(of("outer"), [outer.v4().to_string()]);
    let serves = || {
        let mut connection = Connection::open(inner.v4(), PATIENCE).unwrap();
        connection.get("/", true).unwrap().pid().unwrap()
    };
    assert!(home.pids("inner").contains(&serves()));
    home.run(&["delete", "outer"]).ok();
    assert!(home.pids("inner").contains(&serves()), "it ended with the app that started it");
}

/// Two workers that are ready are not two workers of one port.
#[test]
fn a_worker_that_serves_elsewhere_is_named() {
    let (home, (port, next)) = (tests::home!(), Port::pair());
    let Some(command) = fixtures::python("probes_first.py", &[port.to_string()]) else { return };
    home.start("web", &["-i", "1"], &command).ok();
    assert_eq!(home.app("web").notes, [""; 0]);
    home.run(&["scale", "web", "2"]).ok();
    let app = home.app("web");
    let reason = app.reason.clone().unwrap_or_default();
    let expected = format!("slot 0 on {}; slot 1 on {}", port.v4(), next.v4());
    assert!(reason.contains("listen on different addresses"), "{app:#?}");
    assert!(reason.contains(&expected), "{app:#?}");
    home.run(&["delete", "web"]).ok();
}

/// The pid that answers on a unix socket.
fn answers_at(path: &Path) -> String {
    let mut text = String::new();
    let mut stream = UnixStream::connect(path).expect("a server listens");
    stream.read_to_string(&mut text).expect("an answer");
    text
}

/// A successor would remove the path of the socket, and the predecessor that of its successor.
#[test]
fn a_server_that_makes_its_unix_socket_itself_is_not_reloaded_but_told_why() {
    let home = tests::home!();
    let path = home.path().join("s.sock");
    let name = path.display().to_string();
    let Some(command) = fixtures::python("unix_only.py", &[&name]) else { return };
    let options = ["-i", "1", "--ready", "uptime", "--min-uptime", "500ms"];
    home.start("web", &options, &command).ok();
    let before = home.pids("web");
    for verb in ["reload", "restart"] {
        home.run(&[verb, "web"]).code(4).says(&[&name, "--listen unix:", "restart --hard"]);
        assert_eq!(home.pids("web"), before);
        assert_eq!(answers_at(&path), format!("pid={}\n", before[0]));
    }
    home.run(&["restart", "web", "--hard"]).ok();
    let after = home.pids("web");
    assert_ne!(after, before);
    assert_eq!(answers_at(&path), format!("pid={}\n", after[0]));
    // The primary that comes next knows it, too.
    let primary = home.app("web").primary_pid;
    process::kill(primary, Signal::SIGKILL);
    home.wait_app("web", "a new primary", PATIENCE, |app| app.primary_pid != primary);
    home.run(&["reload", "web"]).code(4).says(&[&name]);
    assert_eq!(answers_at(&path), format!("pid={}\n", after[0]));
}
