//! Programs that treat their listening socket in their own way: they shut it down, and listen
//! again. It is lent; what they do to it must not reach the sockets of other workers.

use std::time::Duration;

use ipc::control::Status;
use nix::sys::signal::Signal;
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
            let mut connection = Connection::open(port.v4(), PATIENCE).unwrap();
            let answer = connection.get("/", true).unwrap();
            answer.value("generation").and_then(|text| text.parse().ok()).unwrap()
        })
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Each worker shuts down a socket of the group when it is told to stop. The kernel would move the
/// last socket into its place, and the new connections of one worker would reach another.
#[test]
fn heavy_a_worker_that_shuts_its_socket_down_disturbs_no_other() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(()) = start(&home, &port, "3") else { return };
    let mut load = Load::new(port.v4());
    load.clients = 8;
    let load = load.start();
    load.warm(50);
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
    let mut load = Load::new(port.v4());
    load.clients = 8;
    let load = load.start();
    load.warm(50);
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
