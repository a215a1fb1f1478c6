//! Programs that treat their listening socket in their own way: they shut it down, and listen
//! again. It is lent; what they do to it must not reach the sockets of other workers.

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
