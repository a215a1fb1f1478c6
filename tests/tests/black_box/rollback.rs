//! A bad deploy is rolled back: the old generation serves on, the command exits with 4 and says
//! why, with the last lines of the program that failed.

use std::time::{Duration, Instant};

use ipc::control::Status;
use nix::sys::signal::Signal;
use tests::fixtures::Deploys;
use tests::{Load, Port, process};

const PATIENCE: Duration = Duration::from_secs(10);

/// Deploys `script` over a good version, under load. `says` must be on stderr.
fn is_rolled_back(script: &str, says: &[&str]) {
    let _load = tests::under_load();
    let (home, port, other) = (tests::home!(), Port::new(), Port::new());
    let mut deploys = Deploys::new(&home);
    deploys.put("good", "pid_server.py");
    let Some(command) = deploys.command(&[&port]) else { return };
    let other = format!("OTHER_PORT={other}");
    home.start("web", &["-i", "2", "--ready-timeout", "4s", "--env", &other], &command).ok();
    let before = home.app("web");

    let load = Load::new(port.v4()).start();
    load.warm(100);
    deploys.put("bad", script);
    let begun = Instant::now();
    home.run(&["reload", "web"]).code(4).says(says);
    println!("{script}: refused after {:.1?}", begun.elapsed());
    load.more(100);
    let tally = load.stop().nothing_lost(script);
    assert_eq!(tally.by_version.get("good"), Some(&tally.ok), "new code served: {tally}");

    let [after] = home.list().try_into().expect("one app");
    assert_eq!((after.status, after.ready, after.wanted), (Status::Ready, 2, 2), "{after:#?}");
    assert!(after.last_reload.is_some(), "list does not show how the reload ended: {after:#?}");
    for (old, new) in before.workers.iter().zip(&after.workers) {
        assert_eq!((old.pid, old.generation), (new.pid, new.generation), "{after:#?}");
    }

    // The next good deploy works.
    deploys.put("better", "pid_server.py");
    home.run(&["reload", "web"]).ok();
    let answer = tests::http::get(port.v4(), Duration::from_secs(5)).expect("an answer");
    assert_eq!(answer.value("version"), Some("better"));
}

#[test]
fn heavy_code_that_exits() {
    is_rolled_back("exits.py", &["exit code 1", "cannot find the database"]);
}

#[test]
fn heavy_code_that_throws_at_once() {
    is_rolled_back("throws.py", &["exit code 1", "RuntimeError: broken by design"]);
}

#[test]
fn heavy_code_that_never_listens() {
    is_rolled_back("never_listens.py", &["not ready", "still warming up"]);
}

#[test]
fn heavy_code_that_listens_on_another_port() {
    is_rolled_back("other_port.py", &["127.0.0.1:"]);
}

#[test]
fn heavy_code_that_crashes_200_ms_after_listening() {
    is_rolled_back("crashes_late.py", &["exit code 3", "late and fatal"]);
}

#[test]
fn heavy_a_good_deploy_serves_the_new_code() {
    let _load = tests::under_load();
    let (home, port) = (tests::home!(), Port::new());
    let mut deploys = Deploys::new(&home);
    deploys.put("one", "pid_server.py");
    let Some(command) = deploys.command(&[&port]) else { return };
    home.start("web", &["-i", "2"], &command).ok();
    let load = Load::new(port.v4()).start();
    load.warm(100);
    deploys.put("two", "pid_server.py");
    home.run(&["reload", "web"]).ok();
    let before = load.so_far();
    load.warm(before.ok + 200);
    let tally = load.stop().nothing_lost("a good deploy");
    let served = |version: &str| tally.by_version.get(version).copied().unwrap_or(0);
    assert!(served("one") > 0 && served("two") >= 150, "{tally}");
    assert_eq!(tally.by_pid.len(), 4, "{tally}");
}

/// The files of the failed code lie where the workers that serve read theirs.
#[test]
fn after_a_rollback_it_is_said_that_the_next_worker_runs_what_lies_on_disk() {
    let (home, port) = (tests::home!(), Port::new());
    let mut deploys = Deploys::new(&home);
    deploys.put("good", "pid_server.py");
    let Some(command) = deploys.command(&[port.to_string()]) else { return };
    home.start("web", &["-i", "2", "--min-uptime", "300ms"], &command).ok();
    assert_eq!(home.app("web").reason, None);
    deploys.put("bad", "exits.py");
    home.run(&["reload", "web"]).code(4);
    let expected = "generation 2 was rolled back: the workers run what they loaded before";
    let reason = home.app("web").reason.unwrap_or_default();
    assert!(reason.starts_with(expected) && !reason.contains("since then"), "{reason}");
    home.run(&["explain", "web"]).ok().shows(&[expected, "runs what lies on disk"]);
    // The deploy is undone, and a worker dies: its successor is named.
    deploys.put("undone", "pid_server.py");
    let victim = home.pids("web")[0];
    process::kill(victim, Signal::SIGKILL);
    home.wait_app("web", "a new worker", PATIENCE, |app| {
        app.ready == 2 && app.workers.iter().all(|worker| worker.pid != Some(victim))
    });
    home.run(&["describe", "web"]).ok().shows(&[expected, "(1 worker started since then"]);
    home.run(&["reload", "web"]).ok();
    assert_eq!(home.app("web").reason, None);
}
