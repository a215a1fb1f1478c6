//! `chaos`: a good server loses nothing, what a server loses by itself is told apart, and a real
//! loss is found.

use std::time::Duration;

use nix::sys::signal::Signal;
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
    let running = home.spawn(&arguments(&["--duration", "10m", "--json"], &command));
    wait_until("the app of chaos", LIMIT, || {
        home.list().iter().any(|app| app.ready == 2).then_some(())
    });
    process::kill(running.pid(), Signal::SIGTERM);
    running.end(LIMIT);
    nothing_is_left(&home);
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
