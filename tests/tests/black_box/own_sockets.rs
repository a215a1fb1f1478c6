//! TCP sockets on which workers listen, and which the supervisor did not lend: those that passed
//! interception by (io_uring), and a port that the kernel chose because a sibling had the other.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use tests::http::{self, Connection};
use tests::{Home, Load, Port, fixtures, process};

const PATIENCE: Duration = Duration::from_secs(10);

/// The exit code of `uring.py` where this kernel cannot bind and listen by io_uring.
const CANNOT: i32 = 77;

/// The command of a server that listens by io_uring.
fn by_io_uring(port: &Port) -> Option<Vec<String>> {
    let trial = fixtures::python::<&str>("uring.py", &[])?;
    let status = Command::new(&trial[0]).args(&trial[1..]).status().expect("python runs");
    if status.code() == Some(CANNOT) {
        eprintln!("SKIPPED: this kernel does not bind and listen by io_uring");
        return None;
    }
    fixtures::python("uring.py", &[port.to_string()])
}

fn answers(address: SocketAddr) -> String {
    http::get(address, PATIENCE).expect("an answer").body
}

/// The supervisor does not see such a socket come, lends none, and cannot keep it over a reload.
#[test]
fn a_worker_that_listens_by_io_uring_is_named_and_not_reloaded() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = by_io_uring(&port) else { return };
    let address = port.v4().to_string();
    let started = home.start("web", &["-i", "1"], &command).ok();
    assert!(started.took < Duration::from_secs(4), "it listens: {started:#?}");
    let started = started.shows(&[&address, "io_uring"]);
    assert!(!started.stdout.contains("listening on nothing"), "{started:#?}");
    assert_eq!(home.app("web").workers[0].own_listeners, std::slice::from_ref(&address));
    home.run(&["describe", "web"]).ok().shows(&["slot 0: listens on", &address]);
    let before = home.pids("web");
    home.run(&["reload", "web"]).code(4).says(&[&address, "--io-uring deny", "restart --hard"]);
    assert_eq!(home.pids("web"), before);
    answers(port.v4());
    // The primary that comes next knows it, too.
    let primary = home.app("web").primary_pid;
    process::kill(primary, Signal::SIGKILL);
    home.wait_app("web", "a new primary", PATIENCE, |app| app.primary_pid != primary);
    home.run(&["reload", "web"]).code(4).says(&[&address]);
    home.run(&["restart", "web", "--hard"]).ok();
    assert_ne!(home.pids("web"), before);
    answers(port.v4());
}

#[test]
fn with_io_uring_denied_such_a_program_is_served_like_any_other() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = by_io_uring(&port) else { return };
    let options = ["-i", "2", "--io-uring", "deny", "--min-uptime", "300ms"];
    home.start("web", &options, &command).ok().shows(&["2 workers ready on", &port.to_string()]);
    let app = home.app("web");
    assert_eq!((app.listeners.len(), app.notes.len()), (1, 0), "{app:#?}");
    let mut load = Load::new(port.v4());
    load.clients = 4;
    let load = load.start();
    load.warm(50);
    home.run(&["reload", "web"]).ok();
    load.stop().nothing_lost("io_uring denied");
}

/// As `npx serve` does: it connects to its port, and takes any other one if somebody answers.
fn takes_any_port(home: &Home, port: &Port) -> Option<()> {
    let command = fixtures::python("probes_first.py", &[&port.to_string(), "any"])?;
    home.start("web", &["-i", "1", "--listen-wait", "2s"], &command).ok();
    Some(())
}

#[test]
fn a_slot_that_serves_on_any_port_because_its_sibling_has_the_other_is_named() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(()) = takes_any_port(&home, &port) else { return };
    home.run(&["scale", "web", "2"]).ok().shows(&["slot 1 on 127.0.0.1:", "(its own)"]);
    let app = home.app("web");
    let [own] = &app.workers[1].own_listeners[..] else { panic!("{app:#?}") };
    let reason = app.reason.clone().unwrap_or_default();
    assert!(reason.contains(&format!("slot 0 on {}; slot 1 on {own} (its own)", port.v4())));
    let mut connection = Connection::open(own.parse().unwrap(), PATIENCE).expect("a server");
    let pid = connection.get("/", true).expect("an answer").pid();
    assert_eq!(pid, home.pids("web").last().copied());
}

/// A successor is told why: it finds its predecessor.
#[test]
fn a_reload_whose_successor_takes_any_port_says_which() {
    let (home, port) = (tests::home!(), Port::new());
    let command = fixtures::python("probes_first.py", &[&port.to_string(), "any"]);
    let Some(command) = command else { return };
    home.start("web", &["-i", "1", "--ready-timeout", "3s"], &command).ok();
    let expected = "with a socket of its own";
    home.run(&["reload", "web"]).code(4).says(&[&port.to_string(), expected, "free port"]);
    assert!(answers(port.v4()).starts_with("pid="));
}
