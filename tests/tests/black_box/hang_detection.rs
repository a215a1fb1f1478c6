//! A worker that takes none of its waiting connections is replaced, and the next worker serves
//! them. A slow worker is not replaced.

use std::time::Duration;

use ipc::control::{NoticeKind, Request};
use nix::sys::signal::Signal;
use tests::{Load, Port, fixtures, process};

const SOON: Duration = Duration::from_secs(20);

/// One of two workers is stopped while it is idle. Its successor answers the connections that came
/// to it.
fn a_stopped_worker_is_replaced(options: &[&str], command: &[String], port: &Port) {
    let home = tests::home!();
    let options = [&["-i", "2", "--hang-timeout", "1s"], options].concat();
    home.start("web", &options, command).ok();
    let before = home.app("web");
    let victim = before.workers[0].pid.expect("a ready worker has a pid");
    let mut notices = home.ask("web", &Request::Subscribe);
    process::kill(victim, Signal::SIGSTOP);
    let mut load = Load::new(port.v4());
    (load.clients, load.requests, load.hang) = (8, 60, SOON);
    let load = load.start();

    let failed = notices.notice_of(NoticeKind::WorkerFailed, SOON);
    assert_eq!(failed.slot, Some(0));
    assert!(failed.message.contains("hung: it has taken no connection for 1"), "{failed:?}");
    load.warm(60);
    load.stop().nothing_lost("a hung worker");
    let after = home.app("web");
    assert_ne!(after.workers[0].pid, Some(victim));
    assert_eq!(after.workers[1].pid, before.workers[1].pid, "the other worker was replaced");
}

/// Some connections always wait, longer than `hang_timeout`, but the worker takes one after the
/// other.
fn a_slow_worker_is_not_replaced(options: &[&str]) {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::python("one_at_a_time.py", &[&port.to_string(), "0.15"]) else {
        return;
    };
    let options = [&["--hang-timeout", "1s"], options].concat();
    home.start("web", &options, &command).ok();
    let before = home.pids("web");
    let mut load = Load::new(port.v4());
    (load.clients, load.requests) = (12, 36);
    load.run().nothing_lost("a slow worker");
    assert_eq!(home.pids("web"), before);
    assert_eq!(home.app("web").restarts, 0);
}

#[test]
fn a_stopped_worker_is_replaced_where_connections_are_counted() {
    let port = Port::new();
    let Some(command) = fixtures::pid_server(&port) else { return };
    a_stopped_worker_is_replaced(&[], &command, &port);
}

#[test]
fn a_stopped_worker_is_replaced_where_they_are_not() {
    let port = Port::new();
    let Some(command) = fixtures::pid_server(&port) else { return };
    a_stopped_worker_is_replaced(&["--balance", "hash"], &command, &port);
}

#[test]
fn a_stopped_worker_is_replaced_in_the_primary_engine() {
    let port = Port::new();
    let Some(node) = fixtures::need("node") else { return };
    let command = [node, fixtures::file("node/plain.js"), port.to_string()];
    a_stopped_worker_is_replaced(&["--engine", "primary"], &command, &port);
}

#[test]
fn a_slow_worker_is_not_replaced_where_connections_are_counted() {
    a_slow_worker_is_not_replaced(&[]);
}

#[test]
fn a_slow_worker_is_not_replaced_where_they_are_not() {
    a_slow_worker_is_not_replaced(&["--balance", "hash"]);
}
