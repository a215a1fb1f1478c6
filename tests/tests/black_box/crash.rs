//! A worker that dies is replaced in its slot. One that cannot live is errored, with the reason,
//! and tried again later.

use std::time::Duration;

use ipc::control::{NoticeKind, Request, Status, WorkerState};
use nix::sys::signal::Signal;
use tests::fixtures::{self, Deploys};
use tests::http::FaultKind;
use tests::{Load, Port, process, wait};

const SOON: Duration = Duration::from_secs(15);

#[test]
fn a_killed_worker_is_replaced_in_its_slot() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    home.start("web", &["-i", "3"], &command).ok();
    let before = home.app("web");
    let victim = &before.workers[1];
    let mut notices = home.ask("web", &Request::Subscribe);
    process::kill(victim.pid.unwrap(), Signal::SIGKILL);
    let failed = notices.notice_of(NoticeKind::WorkerFailed, SOON);
    assert_eq!(failed.slot, Some(1));
    assert!(failed.message.contains("SIGKILL"), "{failed:?}");
    assert_eq!(notices.notice_of(NoticeKind::WorkerReady, SOON).slot, Some(1));

    let after = home.app("web");
    let worker = &after.workers[1];
    assert_ne!(worker.pid, victim.pid);
    assert_eq!((worker.generation, worker.restarts), (victim.generation, 1));
    assert!(worker.last_exit.as_deref().is_some_and(|exit| exit.contains("SIGKILL")));
    assert_eq!(after.workers[0].pid, before.workers[0].pid);
    assert_eq!(after.workers[2].pid, before.workers[2].pid);
    assert_eq!((after.restarts, after.status), (1, Status::Ready));
}

/// Each worker serves one connection at a time, and the others wait in its queue. Only the one that
/// the dead worker was serving may be lost.
#[test]
fn heavy_only_the_request_in_flight_dies_with_its_worker() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::python("one_at_a_time.py", &[&port.to_string(), "0.05"]) else {
        return;
    };
    home.start("web", &["-i", "2"], &command).ok();
    let load = Load::new(port.v4()).start();
    load.warm(40);
    let kills: u64 = 4;
    for count in 1..=kills {
        let mut notices = home.ask("web", &Request::Subscribe);
        let victim = home.pids("web")[usize::try_from(count % 2).unwrap()];
        process::kill(victim, Signal::SIGKILL);
        notices.notice_of(NoticeKind::WorkerReady, SOON);
        load.more(40);
    }
    let tally = load.stop();
    println!("{kills} killed while serving one connection each:\n{tally}");
    let torn = [FaultKind::Reset, FaultKind::Empty, FaultKind::Truncated];
    let torn: u64 = torn.into_iter().map(|kind| tally.count(kind)).sum();
    assert_eq!(torn, tally.lost(), "a client was refused or hung: {tally}");
    assert!(torn <= kills, "more were lost than the workers were serving: {tally}");
}

#[test]
fn a_crash_loop_ends_errored_and_quiet_and_restart_revives_it() {
    let (home, port) = (tests::home!(), Port::new());
    let mut deploys = Deploys::new(&home);
    deploys.put("broken", "exits.py");
    let Some(command) = deploys.command(&[&port]) else { return };
    home.start("web", &["-i", "2"], &command)
        .code(1)
        .says(&["exit code 1", "cannot find the database"]);
    let [app] = home.list().try_into().expect("the app is still there");
    assert_eq!(app.status, Status::Errored);
    assert!(app.reason.as_deref().is_some_and(|r| r.contains("exit code 1")), "{app:#?}");
    assert!(
        app.workers.iter().all(|w| w.pid.is_none() && w.state == WorkerState::Errored),
        "{app:#?}"
    );

    // One tick is 10 ms of CPU. The primary may use one in a whole second.
    let before = process::ticks(app.primary_pid);
    wait::let_pass(Duration::from_secs(1));
    let spent = process::ticks(app.primary_pid) - before;
    println!("an errored app's primary: {spent} ticks in 1 s");
    assert!(spent <= 1, "it is not quiet: {spent} ticks");

    deploys.put("mended", "pid_server.py");
    home.run(&["restart", "web"]).ok();
    let app = home.app("web");
    assert_eq!((app.status, app.ready), (Status::Ready, 2), "{app:#?}");
    let mut load = Load::new(port.v4());
    load.requests = 100;
    load.run().nothing_lost("revived");
}

/// What it needs comes up later than the app.
#[test]
fn an_app_that_cannot_start_yet_is_tried_again() {
    let (home, port) = (tests::home!(), Port::new());
    let mut deploys = Deploys::new(&home);
    deploys.put("broken", "exits.py");
    let Some(command) = deploys.command(&[&port]) else { return };
    let options = ["-i", "2", "--backoff-max", "500ms"];
    home.start("web", &options, &command).code(1).says(&["tried again about every 500ms"]);
    deploys.put("mended", "pid_server.py");
    let app = home.wait_app("web", "it to recover", SOON, |app| app.status == Status::Ready);
    assert_eq!((app.ready, app.generation), (2, 1), "{app:#?}");
    home.run(&["delete", "web"]).ok();

    deploys.put("broken again", "exits.py");
    let outcome = home.start("web", &["--backoff-max", "100ms", "--give-up"], &command).code(1);
    outcome.says(&["gave up after 3 failures"]);
    let errored = home.app("web");
    deploys.put("mended again", "pid_server.py");
    wait::let_pass(Duration::from_secs(1));
    assert_eq!(home.app("web").restarts, errored.restarts, "nobody asked for another try");
    home.run(&["restart", "web"]).ok();
}

#[test]
fn a_server_that_keeps_crashing_is_errored_with_its_reason() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::python("crashes_late.py", &[&port.to_string(), "50"]) else {
        return;
    };
    // It is ready each time, so `start` succeeds. Then the limit of restarts ends it.
    let config = home.config("web", &command, "max_restarts = 3");
    home.run(&["start", &config]).ok();
    let app = home.wait_app("web", "the app to be given up", Duration::from_secs(30), |app| {
        app.status == Status::Errored
    });
    assert!(app.reason.as_deref().is_some_and(|r| r.contains("exit code 3")), "{app:#?}");
    let described = home.run(&["describe", "web"]).ok().stdout;
    assert!(described.contains("exit code 3"), "{described}");
}

#[test]
fn the_whole_process_group_ends_with_its_worker() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::python("brood.py", &[&port]) else { return };
    home.start("web", &["--kill-timeout", "300ms"], &command).ok();
    let children = fixtures::live_children(&home.log("web", "out.log"));
    assert_eq!(children.len(), 2);

    // The worker is killed: its children end before the replacement starts.
    let mut notices = home.ask("web", &Request::Subscribe);
    process::kill(home.pids("web")[0], Signal::SIGKILL);
    notices.notice_of(NoticeKind::WorkerReady, SOON);
    assert!(
        !children.iter().any(|pid| process::is_alive(*pid)),
        "children of the dead worker live on"
    );

    // The same when the app is stopped.
    assert_eq!(fixtures::live_children(&home.log("web", "out.log")).len(), 2);
    home.run(&["stop", "web"]).ok();
    assert!(fixtures::live_children(&home.log("web", "out.log")).is_empty());
    home.run(&["delete", "web"]).ok();
    home.nothing_left();
}

#[test]
fn a_worker_that_ignores_sigterm_is_killed_in_time() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::python("deaf.py", &[&port]) else { return };
    home.start("web", &["--kill-timeout", "300ms"], &command).ok();
    let outcome = home.run(&["delete", "web"]).ok();
    assert!(outcome.took < Duration::from_secs(5), "{outcome:#?}");
    home.nothing_left();
}
