//! Processes that leave the process group of their worker: they belong to it all the same, drain
//! with it and end with it, unless they were asked for.

use std::fs;
use std::time::Duration;

use ipc::control::{NoticeKind, Request, Status};
use nix::sys::signal::Signal;
use tests::http::Connection;
use tests::{Home, Load, Port, fixtures, process};

const SOON: Duration = Duration::from_secs(20);

fn start(home: &Home, port: &Port, how: &str, options: &[&str]) -> Option<()> {
    let command = fixtures::python("detaches.py", &[port.to_string(), how.to_owned()])?;
    let all = [&["-i", "1", "--min-uptime", "300ms", "--kill-timeout", "2s"], options].concat();
    home.start("web", &all, &command).ok();
    Some(())
}

/// The detached processes of the app that live.
fn detached(home: &Home) -> Vec<u32> {
    fixtures::live_children(&home.log("web", "out.log"))
}

/// The two of a worker that has just become ready, once they have said their pids.
fn two(home: &Home) -> Vec<u32> {
    tests::wait_until("two detached processes", SOON, || {
        let all = detached(home);
        (all.len() == 2).then_some(all)
    })
}

fn refused(port: &Port) -> bool {
    Connection::open(port.v4(), Duration::from_secs(2)).is_err()
}

fn they_end_with_their_worker(how: &str) {
    let (home, port) = (tests::home!(), Port::new());
    let Some(()) = start(&home, &port, how, &[]) else { return };
    let first = two(&home);

    home.run(&["reload", "web"]).ok();
    assert!(!first.iter().any(|pid| process::is_alive(*pid)), "they outlive the reload");
    let second = two(&home);

    // The worker dies by itself: they end before the replacement starts.
    let mut notices = home.ask("web", &Request::Subscribe);
    process::kill(home.pids("web")[0], Signal::SIGKILL);
    notices.notice_of(NoticeKind::WorkerReady, SOON);
    assert!(!second.iter().any(|pid| process::is_alive(*pid)), "they outlive their worker");

    let third = two(&home);
    home.run(&["delete", "web"]).ok();
    assert!(!third.iter().any(|pid| process::is_alive(*pid)), "they outlive the app");
    assert!(refused(&port));
    home.nothing_left();
}

#[test]
fn children_in_sessions_of_their_own_end_with_their_worker() {
    they_end_with_their_worker("setsid");
}

#[test]
fn orphans_end_with_the_worker_that_they_came_from() {
    they_end_with_their_worker("orphans");
}

/// The old code is gone when a reload returns, and nothing that it was serving is cut.
#[test]
fn heavy_detached_processes_drain_with_their_worker() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(()) = start(&home, &port, "orphans", &[]) else { return };
    let mut load = Load::new(port.v4());
    load.clients = 8;
    let load = load.start();
    load.warm(100);
    for _ in 0..4 {
        home.run(&["reload", "web"]).ok();
        let live = [home.pids("web"), two(&home)].concat();
        for _ in 0..100 {
            let mut connection = Connection::open(port.v4(), SOON).unwrap();
            let pid = connection.get("/", true).unwrap().pid().unwrap();
            assert!(live.contains(&pid), "{pid} is of an old generation, {live:?} are not");
        }
    }
    load.stop().nothing_lost("4 reloads of a worker with detached processes");
}

#[test]
fn a_program_that_goes_into_the_background_is_told_so() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::python("detaches.py", &[port.to_string(), "daemon".to_owned()])
    else {
        return;
    };
    // It listens first, so it may count as ready for a moment.
    home.start("web", &[], &command);
    let app =
        home.wait_app("web", "the app to be given up", SOON, |app| app.status == Status::Errored);
    let reason = app.reason.unwrap_or_default();
    assert!(reason.contains("went into the background"), "{reason}");
    assert!(detached(&home).is_empty());
}

/// A child without a handler is left to a parent that has one, but not for ever: this parent waits
/// for its child and does not tell it anything.
#[test]
fn a_child_that_its_parent_does_not_stop_gets_the_signal() {
    let (home, port) = (tests::home!(), Port::new());
    let server = [fixtures::file("python/pid_server.py"), port.to_string()];
    let Some(command) = fixtures::python("wraps.py", &server) else { return };
    let options = ["--min-uptime", "300ms", "--observe", "300ms", "--kill-timeout", "2s"];
    home.start("web", &options, &command).ok();
    home.run(&["reload", "web"]).ok();
    home.run(&["delete", "web"]).ok();
    let log = home.log("web", "primary.log");
    assert!(!log.contains("SIGKILL"), "{log}");
}

#[test]
fn what_is_asked_for_lives_on() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(()) = start(&home, &port, "setsid", &["--keep-detached"]) else { return };
    let first = two(&home);
    home.run(&["delete", "web"]).ok();
    assert_eq!(detached(&home), first);
    for pid in first {
        process::kill(pid, Signal::SIGKILL);
    }
}

/// The kernel asks about the calls of such a process for as long as it lives.
#[test]
fn what_outlives_its_worker_and_the_app_can_bind_and_listen() {
    let (home, port) = (tests::home!(), Port::new());
    let told = home.path().join("told");
    let arguments = [port.to_string(), "binds".to_owned(), told.display().to_string()];
    let Some(command) = fixtures::python("detaches.py", &arguments) else { return };
    let options = ["--min-uptime", "300ms", "--kill-timeout", "2s", "--keep-detached"];
    home.start("web", &options, &command).ok();
    let one = tests::wait_until("the detached process", SOON, || detached(&home).pop());
    let told = home.path().join(format!("told-{one}"));
    let binds = |when: &str| {
        let lines = || fs::read_to_string(&told).unwrap_or_default().lines().count();
        let before = lines();
        tests::wait_until(when, SOON, || (lines() > before + 20).then_some(()));
        let failed = fs::read_to_string(&told).unwrap_or_default();
        let failed = failed.lines().find(|line| line.starts_with("failed")).map(str::to_owned);
        assert_eq!(failed, None, "{when}");
    };
    binds("beside its worker");
    let mut notices = home.ask("web", &Request::Subscribe);
    process::kill(home.pids("web")[0], Signal::SIGKILL);
    notices.notice_of(NoticeKind::WorkerReady, SOON);
    binds("after its worker");
    home.kill_primary("web", Signal::SIGKILL);
    binds("after the primary");
    home.run(&["delete", "web"]).ok();
    binds("after the app");
    assert!(process::is_alive(one));
    for pid in detached(&home) {
        process::kill(pid, Signal::SIGKILL);
    }
    home.nothing_left();
}
