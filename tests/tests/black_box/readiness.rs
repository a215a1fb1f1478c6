//! What makes a worker ready, and what a reload may call success: what the kernel shows, never the
//! word of the program alone.

use std::time::{Duration, Instant};

use ipc::control::Status;
use nix::sys::signal::Signal;
use tests::fixtures::Deploys;
use tests::{Home, Port, fixtures, http, pip, process, run, wait_until};

const SOON: Duration = Duration::from_secs(5);

/// gunicorn with two processes of its own, as its configuration file says. It sends READY=1 unasked
/// and binds where the file says.
fn gunicorn(home: &Home, port: u16) -> Option<Vec<String>> {
    let program = pip::program("gunicorn")?;
    home.write(
        "app.py",
        &std::fs::read_to_string(fixtures::file("servers/app.py")).expect("a fixture"),
    );
    bind(home, port);
    Some([program.as_str(), "-w", "2", "-c", "g.py", "app:wsgi"].map(str::to_owned).into())
}

fn bind(home: &Home, port: u16) {
    let control = home.path().join("gunicorn.ctl");
    let text = format!("bind = '127.0.0.1:{port}'\ncontrol_socket = '{}'\n", control.display());
    home.write("g.py", &text);
}

#[test]
fn heavy_ready_1_does_not_stand_for_an_address() {
    let _load = tests::under_load();
    let (home, port, other) = (tests::home!(), Port::new(), Port::new());
    let Some(command) = gunicorn(&home, port.number()) else { return };
    // Python takes a compiled file for the same as its source that was written in the same second.
    let fresh = "PYTHONDONTWRITEBYTECODE=1";
    home.start("web", &["-i", "2", "--ready-timeout", "5s", "--env", fresh], &command).ok();
    let before = home.pids("web");
    bind(&home, other.number());
    let missing = format!("does not listen on 127.0.0.1:{port}");
    home.run(&["reload", "web"]).code(4).says(&[&missing]);
    assert_eq!(home.pids("web"), before, "the old workers serve on");
    let answer = http::get(port.v4(), SOON).expect("the old address answers");
    assert!(answer.value("pid").is_some());
}

/// It asks whether its socket listens (SO_ACCEPTCONN) and does not call `listen` then. Sockets of
/// replaced workers do, from the second slot of the first reload on.
#[test]
fn heavy_a_program_that_does_not_listen_twice_is_ready_and_serves() {
    let _load = tests::under_load();
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = gunicorn(&home, port.number()) else { return };
    home.start("web", &["-i", "2"], &command).ok();
    for _ in 0..3 {
        home.run(&["reload", "web"]).ok();
        let app = home.app("web");
        assert_eq!((app.status, app.ready), (Status::Ready, 2), "{app:#?}");
        let [listener] = &app.listeners[..] else { panic!("one address: {app:#?}") };
        assert_eq!(listener.slots, [0, 1], "both slots get connections: {app:#?}");
        http::get(port.v4(), SOON).expect("an answer");
    }
}

/// It listens at once, imports for 2.5 s, and dies. By then it has taken over, and with two workers
/// the second slot was replaced, too.
#[test]
fn code_that_dies_while_it_imports_is_rolled_back() {
    for workers in ["1", "2"] {
        let (home, port) = (tests::home!(), Port::new());
        let Some(good) = fixtures::pid_server(&port) else { return };
        let Some(bad) = fixtures::python("dies_importing.py", &[&port]) else { return };
        let file = home.config("web", &good, &format!("instances = {workers}"));
        home.run(&["start", &file]).ok();
        home.config("web", &bad, &format!("instances = {workers}"));
        home.run(&["reload", "web"]).code(4).says(&["exit code 3", "the last module is broken"]);
        let app = home.app("web");
        assert_eq!((app.status, app.ready), (Status::Ready, app.wanted), "{app:#?}");
        assert!(app.workers.iter().all(|w| w.generation == 1), "{app:#?}");
        let answer = http::get(port.v4(), SOON).expect("the old code answers");
        assert!(answer.pid().is_some());
    }
}

/// Deploys as Capistrano does: `cd current`, `start`, then `current` is another folder, `reload`,
/// and the old folder is removed. The app was named by a command, a script, or a file.
#[test]
fn a_deploy_by_symlink_runs_the_new_release() {
    for (start, relative) in [
        (&["start", "--name", "web", "--", "python3", "server.py"][..], true),
        (&["start", "--name", "web", "server.py", "--"], true),
        (&["start"], false),
    ] {
        let (home, port) = (tests::home!(), Port::new());
        if fixtures::need("python3").is_none() {
            return;
        }
        let number = port.to_string();
        let mut deploys = Deploys::new(&home);
        let mut put = |version: &str| {
            deploys.put(version, "pid_server.py");
            let text =
                format!("name = \"web\"\ncommand = [\"python3\", \"server.py\", \"{port}\"]\n");
            home.write("current/supervisor.toml", &text);
        };
        put("one");
        let current = home.path().join("current");
        let arguments: Vec<&str> =
            start.iter().copied().chain(relative.then_some(number.as_str())).collect();
        let mut command = home.command();
        command.args(&arguments).current_dir(&current).env("PWD", &current);
        run::spawn(&mut command, home.path()).end(SOON).ok();
        let serves = |version: &str| {
            let answer = http::get(port.v4(), SOON).expect("an answer");
            assert_eq!(answer.value("version"), Some(version), "{start:?}");
        };
        serves("one");
        let first = std::fs::canonicalize(&current).unwrap();
        put("two");
        home.run(&["reload", "web"]).ok();
        serves("two");
        std::fs::remove_dir_all(first).unwrap();
        let before = home.pids("web");
        process::kill(before[0], Signal::SIGKILL);
        home.wait_app("web", "new worker", SOON, |app| {
            app.status == Status::Ready && app.workers.iter().all(|w| w.pid != Some(before[0]))
        });
        serves("two");
    }
}

/// Node opens its inspector at SIGUSR1. Nothing tells the next worker to do the same.
#[test]
fn an_inspector_does_not_have_to_be_opened_again() {
    let (home, port, inspector) = (tests::home!(), Port::new(), Port::new());
    let Some(node) = fixtures::need("node") else { return };
    let option = format!("--inspect-port={inspector}");
    let server = fixtures::file("node/plain.js");
    let command = [node, option, server, port.to_string()];
    let options = ["-i", "1", "--listen-wait", "1s", "--ready-timeout", "5s"];
    home.start("web", &options, &command).ok();
    let ready = Instant::now();
    home.wait_app("web", "settled worker", SOON, |_| ready.elapsed() > Duration::from_secs(2));
    home.run(&["signal", "web", "USR1"]).ok();
    let opened = format!("127.0.0.1:{inspector}");
    home.wait_app("web", "inspector", SOON, |app| {
        app.listeners.iter().any(|listener| listener.address == opened)
    });
    home.run(&["reload", "web"]).ok();
    assert!(home.log("web", "primary.log").contains(&format!("need not listen on {opened}")));
}

/// It closes one of its addresses some time after its start, as nobody but the kernel knows.
#[test]
fn a_closed_address_is_not_asked_for() {
    let (home, port, other) = (tests::home!(), Port::new(), Port::new());
    let Some(command) = fixtures::python("closes_one.py", &[&port, &other]) else { return };
    home.start("web", &["-i", "1", "--ready-timeout", "5s", "--env", "SECOND=1"], &command).ok();
    wait_until("the second address is closed", SOON, || {
        home.log("web", "out.log").contains("closed").then_some(())
    });
    home.run(&["reload", "web", "--env", "SECOND=0"]).ok();
    http::get(port.v4(), SOON).expect("an answer");
}

/// It ends as it does by hand, and its end is a success.
#[test]
fn a_job_that_does_its_work_and_leaves_is_done() {
    let home = tests::home!();
    for restart in ["on-failure", "never"] {
        let job = ["sh", "-c", "sleep 0.3; echo worked"];
        let outcome = home.start("job", &["--restart", restart], &job).ok();
        assert!(outcome.stdout.contains("done: 1 of 1 worker"), "{outcome:#?}");
        assert_eq!(home.app("job").status, Status::Stopped);
        // A server that was expected to listen is told so.
        home.run(&["delete", "job"]).ok();
        let options = ["--restart", restart, "--ready", "listen"];
        home.start("job", &options, &job).code(1).says(&["ended by itself: exit code 0"]);
        home.run(&["delete", "job"]).ok();
    }
}

/// Each slot may have a file of its own, as pid files need.
#[test]
fn arguments_name_slot_and_generation() {
    let home = tests::home!();
    let file = home.path().join("${SUPERVISOR_SLOT}-${SUPERVISOR_GENERATION}.pid");
    let job = ["touch", file.to_str().unwrap()];
    home.start("job", &["-i", "2", "--restart", "never"], &job).ok();
    for name in ["0-1.pid", "1-1.pid"] {
        assert!(home.path().join(name).exists(), "{name}");
    }
}

#[test]
fn serve_names_the_addresses_of_every_worker() {
    let (home, port, other) = (tests::home!(), Port::new(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    let wanted = format!(":{other}");
    let options = ["--serve", &wanted, "--ready-timeout", "2s"];
    let named = format!("it does not listen on :{other}");
    home.start("web", &options, &command).code(1).says(&[&named]);
    home.run(&["delete", "web"]).ok();
    home.start("web", &["--serve", &format!("127.0.0.1:{port}")], &command).ok();
}
