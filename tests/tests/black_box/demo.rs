//! The first command of the README: one word starts a server on every core.

use std::collections::BTreeSet;
use std::time::Duration;

use tests::{Load, Port, http};

#[test]
fn the_demo_serves_and_prints_what_to_try() {
    let (home, port) = (tests::home!(), Port::new());
    let outcome = home.run(&["demo", "--port", &port.to_string()]).ok();
    let said = outcome.stdout.clone() + &outcome.stderr;
    for words in [format!("http://127.0.0.1:{port}"), "reload demo".into(), "delete demo".into()] {
        assert!(said.contains(&words), "{words:?} is missing: {outcome:#?}");
    }
    let app = home.app("demo");
    assert!(app.wanted >= 1 && app.ready == app.wanted, "{app:#?}");

    let mut load = Load::new(port.v4());
    load.clients = 8;
    load.requests = 200 * u64::from(app.wanted);
    let tally = load.run().nothing_lost("demo");
    let expected: BTreeSet<u32> = home.pids("demo").into_iter().collect();
    let seen: BTreeSet<u32> = tally.by_pid.into_keys().collect();
    assert_eq!(seen, expected, "not every worker answers");

    home.run(&["reload", "demo"]).ok();
    let pid = http::get(port.v4(), Duration::from_secs(5)).unwrap().pid().unwrap();
    assert!(!expected.contains(&pid), "an old worker answers");
    home.run(&["delete", "demo"]).ok();
    home.nothing_left();
}

#[test]
fn the_readme_begins_with_it() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(readme).expect("there is a README");
    assert!(readme.contains("supervisor demo") || readme.contains("-- demo"), "the first command");
    assert!(readme.contains("cargo fast && cargo heavy"), "the test command");
}
