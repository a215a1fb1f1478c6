//! `chaos`: a good server loses nothing, what a server loses by itself is told apart, and a real
//! loss is found.

use std::time::Duration;

use nix::sys::signal::Signal;
use tests::run::Running;
use tests::{Home, Port, fixtures, process, wait_until};

const LIMIT: Duration = Duration::from_secs(120);

/// `chaos OPTIONS -- COMMAND`.
fn arguments(options: &[&str], command: &[String]) -> Vec<String> {
    let words = ["chaos"].iter().chain(options).chain(&["--"]).map(|word| (*word).to_owned());
    words.chain(command.iter().cloned()).collect()
}

/// Panics unless nothing of the app is left.
#[track_caller]
fn nothing_is_left(home: &Home) {
    assert!(home.list().is_empty(), "the app is still there: {:#?}", home.list());
    home.nothing_left();
}

#[test]
fn a_good_server_loses_nothing() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    // One step begins in any case, however slow the machine is.
    let options = ["--duration", "3s", "--only", "scale", "--rate", "60", "--kept-for", "500ms"];
    let outcome = home.run_for(LIMIT, &arguments(&options, &command)).ok();
    outcome.shows(&["answered", "sent again", "scale", "nothing lost", "keeper and primary"]);
    nothing_is_left(&home);
}

#[test]
fn a_signal_ends_it_and_the_app() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    let running = with_app(&home, &["--json"], &command);
    process::kill(running.pid(), Signal::SIGTERM);
    running.end(LIMIT);
    nothing_is_left(&home);
}

/// The process that does the trial; the command itself is its guard.
fn trial(guard: &Running) -> u32 {
    wait_until("the process of the trial", LIMIT, || process::child_of(guard.pid()))
}

/// Chaos with a good server, when the app is up.
fn with_app(home: &Home, options: &[&str], command: &[String]) -> Running {
    let options = [&["--duration", "10m"], options].concat();
    let running = home.spawn(&arguments(&options, command));
    wait_until("the app of chaos", LIMIT, || {
        home.list().iter().any(|app| app.ready == 2).then_some(())
    });
    running
}

#[test]
fn a_panic_leaves_nothing_behind() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    let running = with_app(&home, &[], &command);
    // What a panic is in a release.
    process::kill(trial(&running), Signal::SIGABRT);
    running.end(LIMIT).code(1).says(&["SIGABRT", "cleared away"]);
    nothing_is_left(&home);
}

#[test]
fn neither_does_the_suspend_key() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    let running = with_app(&home, &[], &command);
    for pid in [running.pid(), trial(&running)] {
        process::kill(pid, Signal::SIGTSTP);
    }
    let outcome = running.end(LIMIT);
    // The trial may not have noticed yet that the app is up.
    let early = outcome.stderr.contains("broken off by a signal while the app started");
    assert!(early || outcome.stdout.contains("ended early by a signal"), "{outcome:#?}");
    nothing_is_left(&home);
}

#[test]
fn a_trial_whose_guard_is_killed_ends_and_clears_away() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    let running = with_app(&home, &[], &command);
    let trial = trial(&running);
    process::kill(running.pid(), Signal::SIGKILL);
    wait_until("the end of the trial", LIMIT, || (!process::is_alive(trial)).then_some(()));
    drop(running);
    nothing_is_left(&home);
}

#[test]
fn a_signal_ends_the_wait_for_the_app() {
    let home = tests::home!();
    let command = ["sleep", "600"].map(str::to_owned);
    let running = home.spawn(&arguments(&["--min-uptime", "5m"], &command));
    wait_until("the app of chaos", LIMIT, || (!home.list().is_empty()).then_some(()));
    process::kill(running.pid(), Signal::SIGINT);
    let outcome = running.end(Duration::from_secs(60)).code(1);
    outcome.says(&["broken off by a signal"]);
    nothing_is_left(&home);
}

#[test]
fn a_worker_that_stands_still_goes_on_when_chaos_is_killed() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    home.start("web", &["-i", "2"], &command).ok();
    let options = ["chaos", "web", "--live", "--yes", "--only", "fill-queue", "--duration", "10m"];
    let running = home.spawn(&options);
    let stands = |pid: &u32| process::get(*pid).is_some_and(|one| one.state == 'T');
    let workers = home.pids("web");
    wait_until("workers that stand still", LIMIT, || workers.iter().all(stands).then_some(()));
    process::kill(trial(&running), Signal::SIGKILL);
    running.end(LIMIT).code(1).says(&["SIGKILL"]);
    wait_until("the workers to go on", LIMIT, || (!workers.iter().any(stands)).then_some(()));
    assert_eq!(home.pids("web"), workers);
}

#[test]
fn a_running_app_needs_a_word_more() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    home.start("web", &["-i", "2"], &command).ok();
    home.run(&["chaos", "web"]).code(2).says(&["--copy", "--live"]);
    home.run(&["chaos", "web", "--live"]).code(2).says(&["--yes"]);
    home.run(&["chaos", "gone", "--live", "--yes"]).code(3);
    let before = home.app("web");
    let options = ["--duration", "3s", "--only", "kill-primary,kill-worker", "--rate", "60"];
    let live = [&["chaos", "web", "--live", "--yes", "--json"][..], &options].concat();
    let report = home.run_for(LIMIT, &live).ok().json();
    assert_eq!(report["total"]["lost"], serde_json::json!({}));
    let after = home.app("web");
    assert_eq!((after.ready, after.wanted), (2, 2), "the app is as before");
    let kills = |fault: &str| {
        let rows = report["rows"].as_array().into_iter().flatten();
        rows.filter(|row| row["fault"] == fault).filter_map(|row| row["times"].as_u64()).sum()
    };
    let deaths: u64 = kills("kill-primary");
    assert!(u64::from(after.primary_deaths) >= deaths, "{before:#?} {after:#?}");
    assert!(deaths + kills("kill-worker") > 0, "{report:#}");
}

#[test]
fn heavy_every_fault_and_nothing_lost() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let script = fixtures::file("node/plain.js");
    let Some(node) = fixtures::need("node") else { return };
    let command = [node, script, port.to_string()];
    let options = ["--duration", "15s", "--seed", "1", "--json", "--min-uptime", "200ms"];
    let options = [&options[..], &["--observe", "300ms", "--drain-idle", "500ms"]].concat();
    let outcome = home.run_for(LIMIT, &arguments(&options, &command)).ok();
    let report = outcome.json();
    assert!(report["total"]["answered"].as_u64().is_some_and(|count| count > 500), "{report:#}");
    assert_eq!(report["seed"], 1);
    nothing_is_left(&home);
}

#[test]
fn heavy_what_the_app_loses_by_itself_is_told_apart() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let drops = fixtures::python("drops.py", &[port.to_string(), "9".to_owned()]);
    let Some(command) = drops else { return };
    let options = ["--duration", "15s", "--only", "reload", "--json"];
    let options = [&options[..], &["--observe", "300ms", "--min-uptime", "200ms"]].concat();
    let report = home.run_for(LIMIT, &arguments(&options, &command)).ok().json();
    assert!(report["baseline"]["own"].as_u64().is_some_and(|count| count > 0), "{report:#}");
    assert!(report["total"]["own"].as_u64().is_some_and(|count| count > 10), "{report:#}");
    assert_eq!(report["total"]["lost"], serde_json::json!({}));
}

#[test]
fn heavy_a_drain_that_is_too_short_is_found() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let slow = fixtures::python("slow.py", &[port.to_string(), "1.5".to_owned()]);
    let Some(command) = slow else { return };
    let options = ["--duration", "8s", "--only", "reload", "--drain-timeout", "100ms"];
    let options = [&options[..], &["--observe", "300ms", "--min-uptime", "200ms"]].concat();
    let outcome = home.run_for(LIMIT, &arguments(&options, &command)).code(1);
    outcome.shows(&["truncated", "during reload", " lost"]);
    nothing_is_left(&home);
}
