//! How programs get their sockets: what interception changes and what it leaves alone, activation
//! and notification. No two apps share an address by accident.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use ipc::control::{AppStatus, Contract, Status};
use tests::{Home, Load, Port, fixtures, http, process, wait_until};

const SOON: Duration = Duration::from_secs(10);

/// The pids that answer on this address, over enough connections to miss none.
#[track_caller]
fn pids(address: SocketAddr) -> BTreeSet<u32> {
    let mut load = Load::new(address);
    load.clients = 4;
    load.requests = 100;
    load.run().nothing_lost(&address.to_string()).by_pid.into_keys().collect()
}

#[track_caller]
fn refused(address: SocketAddr) {
    let fault = http::get(address, SOON).expect_err("the connection should be refused");
    assert_eq!(fault.kind, http::FaultKind::Refused, "{fault}");
}

fn addresses(app: &AppStatus) -> Vec<&str> {
    app.listeners.iter().map(|l| l.address.as_str()).collect()
}

/// Waits for a line with these words in the app's out.log, and returns what follows them.
#[track_caller]
fn logged(home: &Home, name: &str, words: &str) -> String {
    wait_until(&format!("{words:?} in out.log"), SOON, || {
        let log = home.log(name, "out.log");
        let rest = log.lines().find_map(|line| line.split_once(words))?.1.trim().to_owned();
        Some(rest)
    })
}

#[test]
fn each_worker_has_a_socket_of_its_own_that_the_primary_keeps() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    home.start("web", &["-i", "3"], &command).ok();
    let app = home.app("web");
    let sockets = |pid| -> BTreeSet<String> {
        let fds = process::fds(pid).into_iter();
        fds.map(|(_, to)| to).filter(|to| to.starts_with("socket:")).collect()
    };
    let of_primary = sockets(app.primary_pid);
    let of_workers: Vec<_> = home.pids("web").into_iter().map(sockets).collect();
    for (index, own) in of_workers.iter().enumerate() {
        assert!(own.intersection(&of_primary).count() >= 1, "the primary keeps it: {own:?}");
        for other in &of_workers[index + 1..] {
            assert!(own.is_disjoint(other), "shared: {own:?} {other:?}");
        }
    }
    assert_eq!(app.listeners[0].sockets, 3, "{:?}", app.listeners);
}

#[test]
fn workers_inherit_nothing_but_what_is_promised() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::python("shows_env.py", &[port.number()]) else { return };
    home.start("web", &["--env", "COLOUR=green"], &command).ok();
    logged(&home, "web", "cwd");
    let log = home.log("web", "out.log");
    for words in [
        "env COLOUR=green",
        "env SUPERVISOR_APP=web",
        "env SUPERVISOR_SLOT=0",
        "env SUPERVISOR_WORKERS=1",
        "env SUPERVISOR_GENERATION=1",
        "env NODE_APP_INSTANCE=0",
        "env NOTIFY_SOCKET=",
        "env SUPERVISOR_CHANNEL_FD=3",
    ] {
        assert!(log.contains(words), "{words:?} is missing: {log}");
    }
    // 0, 1, 2, the channel, and the folder that the program itself reads. More would be a leak.
    let fds: Vec<&str> = log.lines().filter_map(|l| l.split_once("fd ")).map(|f| f.1).collect();
    let leaked = fds.iter().filter(|fd| !fd.contains("/proc/")).count();
    assert_eq!(leaked, 4, "{fds:#?}");
    assert!(!log.contains("env LISTEN_FDS"), "no address is configured: {log}");
}

#[test]
fn several_ports_are_all_served_by_all_workers() {
    let home = tests::home!();
    let ports = [Port::new(), Port::new(), Port::new()];
    let Some(command) = fixtures::python("several_ports.py", &ports) else { return };
    home.start("web", &["-i", "2"], &command).ok();
    home.wait_app("web", "three listeners with two slots", SOON, |app| {
        app.listeners.len() == 3 && app.listeners.iter().all(|l| l.slots.len() == 2)
    });
    let first = pids(ports[0].v4());
    assert_eq!(first.len(), 2);
    assert_eq!(pids(ports[1].v4()), first);
    assert_eq!(pids(ports[2].v4()), first);
}

/// It opens one after the other. A client that connects when `start` has returned must find all.
#[test]
fn a_start_returns_when_every_port_is_open() {
    let home = tests::home!();
    let ports: Vec<Port> = (0..20).map(|_| Port::new()).collect();
    let Some(command) = fixtures::python("several_ports.py", &ports) else { return };
    home.start("web", &["-i", "2"], &command).ok();
    for port in &ports {
        if let Err(error) = TcpStream::connect(port.v4()) {
            panic!("port {port}: {error}");
        }
    }
    assert_eq!(home.app("web").listeners.len(), ports.len());
}

#[test]
fn dual_stack_is_as_the_program_asked() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("SKIPPED: this machine has no IPv6");
        return;
    }
    let (home, both, only) = (tests::home!(), Port::new(), Port::new());
    let Some(command) = fixtures::python("dual_stack.py", &[both.number(), 0]) else { return };
    home.start("both", &["-i", "2"], &command).ok();
    assert_eq!(pids(both.v6()).len(), 2);
    assert_eq!(pids(both.v4()), pids(both.v6()));

    let Some(command) = fixtures::python("dual_stack.py", &[only.number(), 1]) else { return };
    home.start("only", &["-i", "2"], &command).ok();
    assert_eq!(pids(only.v6()).len(), 2);
    refused(only.v4());
}

#[test]
fn a_shell_around_the_program_changes_nothing() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    let script = format!("cd /; {}; echo done", command.join(" "));
    home.start("web", &["-i", "2"], &["sh", "-c", &script]).ok();
    assert_eq!(pids(port.v4()).len(), 2);
    home.run(&["delete", "web"]).ok();
    home.nothing_left();
}

#[test]
fn passthrough_addresses_are_left_alone() {
    let (home, port, alone) = (tests::home!(), Port::new(), Port::new());
    let Some(command) = fixtures::python("several_ports.py", &[&port, &alone]) else { return };
    home.start("web", &["--passthrough", &format!(":{alone}")], &command).ok();
    let pid = home.pids("web")[0];
    assert_eq!(pids(port.v4()), BTreeSet::from([pid]));
    wait_until("the other port", SOON, || http::get(alone.v4(), SOON).ok());
    let app = home.app("web");
    assert_eq!(addresses(&app), [format!("127.0.0.1:{port}")]);
}

#[test]
fn port_zero_goes_through_untouched() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::python("port_zero.py", &[&port]) else { return };
    home.start("web", &[], &command).ok();
    let free: u16 = logged(&home, "web", "free port").parse().expect("a port number");
    assert_ne!(free, 0);
    assert_eq!(pids(SocketAddr::from(([127, 0, 0, 1], free))).len(), 1);
    assert_eq!(addresses(&home.app("web")), [format!("127.0.0.1:{port}")]);
}

/// A server that finds its pid file takes itself for a second copy, and ends well.
#[test]
fn a_server_that_ends_because_of_the_pid_file_of_a_sibling_is_told_so() {
    let (home, port) = (tests::home!(), Port::new());
    let start = |pid_file: &str| {
        let arguments = [port.to_string(), pid_file.to_owned()];
        let command = fixtures::python("pid_file.py", &arguments)?;
        let options = ["-i", "2", "--min-uptime", "300ms", "--backoff-min", "50ms"];
        Some(home.start("web", &options, &command))
    };
    let file = home.path().join("pid").display().to_string();
    let Some(outcome) = start(&file) else { return };
    outcome.code(1).says(&["exit code 0", "pid file of a sibling", "${SUPERVISOR_SLOT}"]);
    home.run(&["delete", "web"]).ok();
    std::fs::remove_file(&file).expect("the first worker wrote it");
    start(&format!("{file}-${{SUPERVISOR_SLOT}}")).expect("python").ok();
    assert_eq!(pids(port.v4()).len(), 2);
}

/// The count of a worker is that of all its sockets, and this one was given nothing.
#[test]
fn a_socket_that_is_bound_and_never_listens_does_not_hide_the_count() {
    let (home, (port, other)) = (tests::home!(), Port::pair());
    if !fixtures::need_root("to count connections") {
        return;
    }
    let Some(command) = fixtures::python("binds_only.py", &[&port, &other]) else { return };
    home.start("web", &[], &command).ok();
    (0..3).for_each(|_| drop(pids(port.v4())));
    let accepted = home.app("web").workers[0].accepted;
    assert!(accepted >= Some(3), "{accepted:?}");
}

#[test]
fn unix_sockets_of_the_program_go_through_untouched() {
    let (home, port) = (tests::home!(), Port::new());
    let prefix = home.path().join("own").display().to_string();
    let Some(command) = fixtures::python("unix_listener.py", &[&port.to_string(), &prefix]) else {
        return;
    };
    home.start("web", &["-i", "2"], &command).ok();
    for pid in home.pids("web") {
        let path = format!("{prefix}-{pid}");
        UnixStream::connect(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    }
}

#[test]
fn an_occupied_address_is_refused_with_the_real_errno_and_its_holder() {
    let (home, port, taken) = (tests::home!(), Port::new(), Port::new());
    let holder = TcpListener::bind(taken.v4()).unwrap();
    // A program that does not need the address gets the errno and lives on.
    let Some(command) = fixtures::python("binds_twice.py", &[&port, &taken]) else { return };
    home.start("lives", &[], &command).ok();
    assert_eq!(logged(&home, "lives", "errno"), "EADDRINUSE");
    assert_eq!(pids(port.v4()).len(), 1);
    // A program that needs it fails, and the supervisor names the holder of the address.
    let Some(command) = fixtures::pid_server(&taken) else { return };
    let me = std::process::id().to_string();
    home.start("fails", &[], &command).code(1).says(&[&taken.to_string(), "in use", &me]);
    drop(holder);
}

#[test]
fn an_address_with_reuseport_is_occupied_all_the_same() {
    let (home, port) = (tests::home!(), Port::new());
    let other = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    other.set_reuse_port(true).unwrap();
    other.bind(&port.v4().into()).unwrap();
    other.listen(16).unwrap();
    let Some(command) = fixtures::pid_server(&port) else { return };
    home.start("web", &[], &command).code(1).says(&["in use"]);
}

#[test]
fn two_apps_never_share_an_address() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    home.start("first", &["-i", "2"], &command).ok();
    let before = pids(port.v4());
    home.start("second", &["-i", "2"], &command).code(1).says(&["in use", "first"]);
    assert_eq!(pids(port.v4()), before);
    // The same for a configured address.
    let listen = format!("127.0.0.1:{port}");
    let Some(command) = fixtures::python::<&str>("activation.py", &[]) else { return };
    home.start("third", &["--listen", &listen], &command).code(1).says(&["in use", "first"]);
    assert_eq!(pids(port.v4()), before);
    assert_eq!(home.app("first").status, Status::Ready);
}

#[test]
fn heavy_listen_close_listen_loses_nothing() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::python("tries_port.py", &[&port]) else { return };
    home.start("web", &["-i", "2", "--min-uptime", "300ms"], &command).ok();
    let mut load = Load::new(port.v4());
    load.clients = 8;
    let load = load.start();
    load.warm(50);
    for _ in 0..3 {
        home.run(&["reload", "web"]).ok();
    }
    let tally = load.stop().nothing_lost("listen, close, listen");
    assert_eq!(tally.by_pid.len(), 8, "four generations of two: {tally}");
}

#[test]
fn configured_addresses_are_lent_by_number_and_name() {
    let (home, port) = (tests::home!(), Port::new());
    let path = home.path().join("app.sock");
    let web = format!("web=127.0.0.1:{port}");
    let side = format!("side=unix:{}", path.display());
    let options = ["-i", "2", "--listen", &web, "--listen", &side];
    let Some(command) = fixtures::python::<&str>("activation.py", &[]) else { return };
    home.start("act", &options, &command).ok();
    assert_eq!(pids(port.v4()).len(), 2);
    let answer = http::get(port.v4(), SOON).unwrap();
    assert_eq!(answer.value("names"), Some("web:side"));
    assert!(unix_get(&path).contains("pid="));
    let app = home.app("act");
    assert!(app.workers.iter().all(|w| w.contract.contains(&Contract::Activation)), "{app:#?}");
    assert_eq!(app.listeners.iter().filter(|l| l.configured).count(), 2, "{app:#?}");

    home.run(&["reload", "act"]).ok();
    assert_eq!(pids(port.v4()).len(), 2);
    home.run(&["delete", "act"]).ok();
    refused(port.v4());
    assert!(!path.exists(), "the unix socket is removed with the app");
}

#[test]
fn a_lent_socket_may_be_named_in_the_arguments() {
    let (home, port) = (tests::home!(), Port::new());
    let web = format!("web=127.0.0.1:{port}");
    let Some(command) = fixtures::python("activation.py", &["${fd:web}"]) else { return };
    home.start("act", &["-i", "2", "--listen", &web], &command).ok();
    assert_eq!(pids(port.v4()).len(), 2);
    let outcome = home.start("typo", &["--listen", &web], &["true", "${fd:wbe}"]).code(2);
    outcome.says(&["wbe", "web"]);
}

#[test]
fn a_program_may_report_when_it_is_ready() {
    let (home, port) = (tests::home!(), Port::new());
    let file = home.path().join("tables").display().to_string();
    let Some(command) = fixtures::python("notify.py", &[&port.to_string(), &file]) else { return };
    let mut args = vec!["start", "--name", "web", "--wait-ready", "-i", "2", "--"];
    args.extend(command.iter().map(String::as_str));
    let start = home.spawn(&args);
    home.wait_app("web", "two workers that are not ready", SOON, |app| {
        app.workers.iter().filter(|w| w.pid.is_some()).count() == 2
    });
    wait_until("the log to show both listening, yet not ready", SOON, || {
        let app = home.app("web");
        assert_eq!(app.ready, 0, "ready before the notification: {app:#?}");
        (app.listeners.first()?.sockets == 2).then_some(())
    });
    home.write("tables", "");
    start.end(SOON).ok();
    let app = home.app("web");
    assert_eq!((app.status, app.ready), (Status::Ready, 2));
    for worker in app.workers {
        assert_eq!(worker.status_text.as_deref(), Some("all tables loaded"));
        assert!(worker.contract.contains(&Contract::Notify), "{worker:#?}");
    }
}

/// Sends GET / over a unix socket.
fn unix_get(path: &Path) -> String {
    let get = || -> io::Result<String> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    get().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
