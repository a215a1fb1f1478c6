//! `bench`: the figures follow from the measurements, what cannot be measured is refused or named,
//! errors are not speed, and nothing is left.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tests::run::Outcome;
use tests::{Home, Port, fixtures, process, wait_until};

const LIMIT: Duration = Duration::from_secs(120);
/// Short, but a server that waits for a CPU answers something in it.
const SHORT: [&str; 6] = ["--span", "300ms", "--connections", "4", "-i", "2"];

/// `bench OPTIONS -- COMMAND`.
fn arguments(options: &[&str], command: &[String]) -> Vec<String> {
    let words = ["bench"].iter().chain(&SHORT).chain(options).chain(&["--"]);
    words.map(|word| (*word).to_owned()).chain(command.iter().cloned()).collect()
}

fn bench(home: &Home, options: &[&str], command: &[String]) -> Outcome {
    home.run_for(LIMIT, &arguments(options, command))
}

/// The setups that have figures, or none and a reason.
fn setups(report: &Value, list: &str) -> BTreeSet<String> {
    let all = report[list].as_array().into_iter().flatten();
    all.filter_map(|one| one["setup"].as_str()).map(str::to_owned).collect()
}

/// The row of a setup with one kind of load.
fn row<'r>(report: &'r Value, what: &str, setup: &str) -> &'r Value {
    let rows = report["rows"].as_array().into_iter().flatten();
    let mut found = rows.filter(|row| row["what"] == what && row["setup"] == setup);
    found.next().unwrap_or_else(|| panic!("no row {what} of {setup}: {report:#}"))
}

#[test]
fn the_ratios_follow_from_the_measurements() {
    let (home, port) = (tests::home!(), Port::new());
    let shares = fixtures::python("shares_port.py", &[port.to_string()]);
    let Some(command) = shares else { return };
    let options = ["--rounds", "2", "--only", "bare,kernel/hash", "--json"];
    let report = bench(&home, &options, &command).ok().json();
    let wanted = ["bare", "kernel/hash", "single"].map(str::to_owned).into();
    assert_eq!(setups(&report, "rows"), wanted, "{report:#}");
    assert_eq!(report["base"], "bare");
    for what in ["new-connections", "kept-connections"] {
        let (ours, bare) = (row(&report, what, "kernel/hash"), row(&report, what, "bare"));
        let rate =
            |row: &Value, round: usize| row["samples"][round]["per_second"].as_f64().unwrap();
        let ratio = |round| rate(ours, round) / rate(bare, round);
        let (least, most) = (ratio(0).min(ratio(1)), ratio(0).max(ratio(1)));
        for (name, wanted) in [("least", least), ("most", most), ("median", (least + most) / 2.0)] {
            let shown = ours["ratio"][name].as_f64().unwrap();
            assert!((shown - wanted).abs() < 1e-9, "{name} is {shown}, not {wanted}");
        }
        assert!(bare["ratio"].is_null());
        assert!(ours["samples"][0]["app_us"].as_f64().unwrap() > 0.0, "{ours:#}");
    }
    home.nothing_left();
}

#[test]
fn a_server_whose_port_cannot_be_shared_has_no_bare_copies() {
    let (home, port) = (tests::home!(), Port::new());
    // It speaks HTTP/1.0.
    let Some(command) = fixtures::python("pid_server.py", &[port.to_string()]) else { return };
    let options = ["--rounds", "1", "--only", "bare,pm2,node-cluster"];
    let outcome = bench(&home, &options, &command).ok();
    outcome.shows(&[
        "New connections",
        "Requests over kept connections",
        "keeps no connection",
        "not measured: bare (one of the copies has ended: OSError",
        "not measured: pm2 (",
        "not measured: node-cluster (",
        "ratios to single",
    ]);
    home.nothing_left();
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let (home, port) = (tests::home!(), Port::new());
    let words = |text: &[&str]| text.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    home.run(&["bench", "--"]).code(2);
    let deaf = words(&["sleep", "600"]);
    bench(&home, &["--duration", "1s"], &deaf).code(1).says(&["listens on no TCP address"]);
    let dies = words(&["sh", "-c", "echo no database >&2; exit 3"]);
    bench(&home, &[], &dies).code(1).says(&["has ended", "no database"]);
    home.nothing_left();
    let Some(command) = fixtures::pid_server(&port) else { return };
    bench(&home, &["--status", "204"], &command).code(1).says(&["with 200 and not with 204"]);
    home.start("web", &[], &command).ok();
    bench(&home, &["--name", "web"], &command).code(2).says(&["there is an app web already"]);
    assert_eq!(home.app("web").ready, 1, "it is not touched");
}

#[test]
fn errors_are_not_speed() {
    let (home, port) = (tests::home!(), Port::new());
    let drops = fixtures::python("drops.py", &[port.to_string(), "9".to_owned()]);
    let Some(command) = drops else { return };
    let options = ["--rounds", "1", "--only", "single", "--markdown"];
    bench(&home, &options, &command).code(1).shows(&["| single | invalid | - |", "error: single"]);
    home.nothing_left();
}

#[test]
fn however_it_ends_nothing_is_left() {
    let (home, port) = (tests::home!(), Port::new());
    let shares = fixtures::python("shares_port.py", &[port.to_string()]);
    let Some(command) = shares else { return };
    let begin = |only: &str| {
        let options = ["--duration", "10m", "--rounds", "1000", "--only", only];
        home.spawn(&arguments(&options, &command))
    };
    let running = begin("kernel/hash");
    wait_until("the app of bench", LIMIT, || (!home.list().is_empty()).then_some(()));
    process::kill(running.pid(), Signal::SIGINT);
    running.end(LIMIT).code(1).shows(&["ended early by a signal"]);
    home.nothing_left();
    let running = begin("bare");
    let copies = || {
        process::of_home(home.path()).iter().filter(|one| one.name.starts_with("python")).count()
    };
    wait_until("two copies", LIMIT, || (copies() == 2).then_some(()));
    let trial = process::child_of(running.pid()).expect("the trial runs");
    process::kill(trial, Signal::SIGKILL);
    running.end(LIMIT).code(1).says(&["SIGKILL"]);
    home.nothing_left();
}

#[test]
fn heavy_a_node_server_in_every_setup() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(node) = fixtures::need("node") else { return };
    let command = [node, fixtures::file("node/plain.js"), port.to_string()];
    let options = ["--rounds", "1", "--duration", "60s", "--json"];
    let report = bench(&home, &options, &command).ok().json();
    let (rows, missing) = (setups(&report, "rows"), setups(&report, "not_measured"));
    assert_eq!(rows.union(&missing).count(), 12, "{report:#}");
    for setup in ["single", "kernel/hash", "kernel/shared", "primary/round-robin", "node-cluster"] {
        assert!(rows.contains(setup), "{setup}: {report:#}");
    }
    let outside =
        |setup: &str| row(&report, "new-connections", setup)["samples"][0]["outside_us"].as_f64();
    assert!(outside("primary/round-robin") > outside("kernel/hash"), "{report:#}");
    assert!(outside("node-cluster") > Some(0.0) && outside("single") == Some(0.0), "{report:#}");
    home.nothing_left();
}
