//! What makes a worker ready, and what a reload may call success: what the kernel shows, never the
//! word of the program alone.

use std::time::Duration;

use ipc::control::Status;
use nix::sys::signal::Signal;
use tests::fixtures::Deploys;
use tests::{Home, Port, fixtures, http, pip, process, run};

const SOON: Duration = Duration::from_secs(5);

/// gunicorn with two processes of its own, as its configuration file says. It sends READY=1 unasked
/// and binds where the file says.
fn gunicorn(home: &Home, port: u16) -> Option<Vec<String>> {
    let program = pip::gunicorn()?;
    home.write("app.py", &std::fs::read_to_string(fixtures::file("gunicorn/app.py")).unwrap());
    bind(home, port);
    Some([program.as_str(), "-w", "2", "-c", "g.py", "app:app"].map(str::to_owned).into())
}

fn bind(home: &Home, port: u16) {
    let control = home.path().join("gunicorn.ctl");
    let text = format!("bind = '127.0.0.1:{port}'\ncontrol_socket = '{}'\n", control.display());
    home.write("g.py", &text);
}

#[test]
fn ready_1_does_not_stand_for_an_address() {
    let (home, port, other) = (tests::home!(), Port::new(), Port::new());
    let Some(command) = gunicorn(&home, port.number()) else { return };
    home.start("web", &["-i", "2", "--ready-timeout", "5s"], &command).ok();
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
fn a_program_that_does_not_listen_twice_is_ready_and_serves() {
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
