//! The fixtures and the client without a supervisor. Each server answers with its own pid, as root
//! and as an ordinary user. If these tests pass, failures elsewhere are not the fault of a fixture.

use std::process::Command;
use std::time::Duration;

use tests::fixtures::{self, Kind};
use tests::run::{Running, spawn};
use tests::wait::try_until;
use tests::{Home, Load, Mode, Port, http, process};

/// Runs a server without a supervisor, with the environment that a worker would inherit.
fn by_hand(home: &Home, command: &[String]) -> Running {
    let mut hand: Command = home.command_of(&command[0]);
    spawn(hand.args(&command[1..]), home.path())
}

/// Waits until it answers, and returns the pid in the answer.
#[track_caller]
fn answers(running: &Running, port: &Port) -> u32 {
    let answer =
        try_until(Duration::from_secs(30), || http::get(port.v4(), Duration::from_secs(5)).ok());
    let answer = answer.unwrap_or_else(|| panic!("it never answers: {}", running.stderr()));
    answer.pid().expect("a pid in the body")
}

fn check(kind: Kind, home: &Home) {
    let port = Port::new();
    let Some(command) = kind.command(home, port.number()) else { return };
    let running = by_hand(home, &command);
    let pid = answers(&running, &port);
    let family: Vec<u32> = process::of_home(home.path()).iter().map(|p| p.pid).collect();
    assert!(family.contains(&pid), "{kind:?}: {pid} is not among {family:?}");

    let mut load = Load::new(port.v4());
    load.clients = 4;
    load.mode = Mode::KeepAlive { requests_per_connection: 10 };
    load.requests = 200;
    load.run().nothing_lost(&format!("{kind:?} by hand, keep-alive"));
    let mut load = Load::new(port.v4());
    load.clients = 4;
    load.requests = 200;
    load.run().nothing_lost(&format!("{kind:?} by hand, new connections"));
}

#[test]
fn every_server_answers_when_run_by_hand() {
    for kind in fixtures::ALL {
        check(kind, &tests::home!());
    }
}

#[test]
fn every_server_answers_when_run_by_nobody() {
    for kind in fixtures::ALL {
        let Some(home) = tests::home_of_nobody!() else { return };
        check(kind, &home);
    }
}

#[test]
fn the_small_python_servers_work() {
    let home = tests::home!();
    let other = Port::new();
    let prefix = home.path().join("own").display().to_string();
    let file = home.path().join("ready").display().to_string();
    for (script, more) in [
        ("deaf.py", vec![]),
        ("slow.py", vec!["0.1".to_owned()]),
        ("chatty.py", vec!["100".to_owned()]),
        ("several_ports.py", vec![other.to_string()]),
        ("tries_port.py", vec![]),
        ("dual_stack.py", vec!["0".to_owned()]),
        ("unix_listener.py", vec![prefix]),
        ("port_zero.py", vec![]),
        ("binds_twice.py", vec![other.to_string()]),
        ("notify.py", vec![file]),
        ("brood.py", vec![]),
        ("shows_env.py", vec![]),
    ] {
        let port = Port::new();
        let mut arguments = vec![port.to_string()];
        arguments.extend(more);
        let Some(command) = fixtures::python(script, &arguments) else { return };
        let running = by_hand(&home, &command);
        assert_eq!(answers(&running, &port), running.pid(), "{script}");
        drop(running);
        for child in process::of_home(home.path()) {
            process::kill(child.pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
}

#[test]
fn the_broken_python_servers_are_broken() {
    let home = tests::home!();
    let port = Port::new();
    for (script, code) in [("exits.py", 1), ("throws.py", 1), ("crashes_late.py", 3)] {
        let Some(command) = fixtures::python(script, &[port.to_string(), "50".to_owned()]) else {
            return;
        };
        let outcome = by_hand(&home, &command).end(Duration::from_secs(20)).code(code);
        assert!(!outcome.stderr.is_empty(), "{script} says why");
    }
}

#[test]
fn a_home_leaves_nothing_behind() {
    let Some(command) = fixtures::python("brood.py", &[Port::new()]) else { return };
    let home = tests::home!();
    let running = by_hand(&home, &command);
    tests::wait_until("two children", Duration::from_secs(20), || {
        (running.stdout().lines().count() == 2).then_some(())
    });
    let children = fixtures::live_children(&running.stdout());
    assert_eq!(children.len(), 2);
    drop(home);
    assert!(children.into_iter().all(|pid| !process::is_alive(pid)));
}
