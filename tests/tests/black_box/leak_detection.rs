//! Memory that only grows is reported, with its slope and the time of observation. Memory that
//! grows and then stays as it is is not reported.

use std::time::Duration;

use ipc::control::{NoticeKind, Request};
use tests::wait::let_pass;
use tests::{Home, fixtures};

/// The shortest window that works, see `leak_window`.
const WINDOW: [&str; 2] = ["--leak-window", "10s"];
const SOON: Duration = Duration::from_secs(120);

/// MiB per hour, from `leak suspected: the heap of slot 0 (worker 1) grows by 12 MiB/h, seen …`.
fn slope(sentence: &str) -> f64 {
    let (_, rest) = sentence.split_once(" grows by ").expect("a slope");
    let (number, rest) = rest.split_once(" MiB/h, seen over ").expect("a slope");
    let (seconds, _) = rest.split_once(" s").expect("a time");
    assert!(seconds.parse::<u64>().is_ok_and(|seconds| seconds >= 9), "{sentence}");
    number.parse().expect("a number")
}

/// The leak is reported once as a notice, and shown in all places that show the state.
fn is_reported(home: &Home, name: &str, command: &[String], what: &str, options: &[&str]) -> f64 {
    let options = [&WINDOW[..], options].concat();
    home.start(name, &options, command).ok();
    let mut notices = home.ask(name, &Request::Subscribe);
    // Resident memory is read only if somebody asks for it.
    home.run(&["metrics", name]).ok();
    let said = notices.notice_of(NoticeKind::Warning, SOON);
    println!("{}", said.message);
    let begin = format!("leak suspected: the {what} of slot 0 (worker 1) grows by ");
    assert!(said.message.starts_with(&begin), "{said:?}");
    assert_eq!((said.slot, said.worker), (Some(0), Some(1)));
    let app = home.app(name);
    assert!(app.notes.iter().any(|note| note.starts_with(&begin)), "{app:#?}");
    assert!(app.reason.is_some_and(|reason| reason.starts_with(&begin)));
    for look in ["list", "describe"] {
        let shown = home.run(&[look, name][..if look == "list" { 1 } else { 2 }]).ok().stdout;
        assert!(shown.contains(&format!("leak suspected: the {what} of slot 0")), "{shown}");
    }
    assert!(home.log(name, "primary.log").contains(&begin));
    slope(&said.message)
}

/// Waits for longer than a report of a leak takes; there must be none.
fn is_not_reported(home: &Home, names: &[&str], span: Duration) {
    let_pass(span);
    for name in names {
        let app = home.app(name);
        let suspected = app.notes.iter().find(|note| note.contains("leak suspected"));
        assert!(suspected.is_none() && app.reason.is_none(), "{app:#?}");
        assert!(!home.log(name, "primary.log").contains("leak suspected"));
        assert_eq!((app.ready, app.restarts), (1, 0));
    }
}

#[test]
fn heavy_a_heap_that_only_grows_is_reported() {
    let _exclusive = tests::exclusive();
    let (Some(node), home) = (fixtures::need("node"), tests::home!()) else { return };
    let program = |how: &str| [node.clone(), fixtures::file("node/grows.js"), how.to_owned()];
    let wait = [&WINDOW[..], &["--wait-ready"]].concat();
    home.start("settles", &wait, &program("settles")).ok();
    let never = ["--wait-ready", "--leak-window", "0s"];
    home.start("never", &never, &program("leaks")).ok();
    let slope = is_reported(&home, "leaks", &program("leaks"), "heap", &["--wait-ready"]);
    assert!(slope > 1000.0, "{slope} MiB/h");
    is_not_reported(&home, &["settles", "never"], Duration::from_secs(12));
}

#[test]
fn heavy_resident_memory_that_only_grows_is_reported() {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    let Some(settles) = fixtures::python("grows.py", &["settles"]) else { return };
    let leaks = fixtures::python("grows.py", &[] as &[&str]).expect("it is there");
    let ready = ["--ready", "uptime", "--min-uptime", "100ms"];
    home.start("settles", &[&WINDOW[..], &ready].concat(), &settles).ok();
    home.run(&["metrics", "settles"]).ok();
    let slope = is_reported(&home, "leaks", &leaks, "resident memory", &ready);
    // 40 kB every 20 ms, less on a slow machine.
    assert!((500.0..8000.0).contains(&slope), "{slope} MiB/h");
    is_not_reported(&home, &["settles"], Duration::from_secs(5));
}
