//! Commands for many apps at once: they work on them side by side, in order, and on every one.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tests::http::Connection;
use tests::wait::let_pass;
use tests::{Home, Port, exclusive, process, wait_until};

/// How long a command for many apps may take on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(120);

/// A file of `count` apps which run `command`, with more lines of TOML for each.
fn file(home: &Home, count: usize, command: &str, more: &str) -> String {
    let app = |number| format!("[app.a{number:03}]\ncommand = {command}\n{more}\n");
    let text: String = (0..count).map(app).collect();
    home.write("many.toml", &text).display().to_string()
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("a{number:03}")).collect()
}

/// The names at the beginning of the lines of a command.
fn order(stdout: &str) -> Vec<&str> {
    stdout.lines().filter_map(|line| line.split_once(": ")).map(|(name, _)| name).collect()
}

#[test]
fn apps_wait_side_by_side_and_results_come_in_order() {
    let home = tests::home!();
    let file =
        file(&home, 6, r#"["sleep", "1000"]"#, "listen_wait = \"2s\"\nkill_timeout = \"1s\"");
    let began = Instant::now();
    let started = home.run(&["start", &file]).ok();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(9), "one wait after the other takes 12 s: {took:?}");
    assert_eq!(order(&started.stdout), names(6));
    let deleted = home.run(&["delete", "all"]).ok();
    assert_eq!(order(&deleted.stdout), names(6));
    home.nothing_left();
}

/// Where the program of this process is in memory, which is random for each exec.
fn place(pid: u32) -> String {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("it runs");
    maps.split('-').next().expect("a line").to_owned()
}

/// That these processes of the app look as if each had been executed for it.
fn assert_argv_environ(home: &Home, name: &str, pids: &[u32]) {
    for pid in pids {
        let words = |file: &str| {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}")).expect("it runs");
            let words = String::from_utf8(bytes).expect("the test uses text");
            words.split_terminator('\0').map(str::to_owned).collect::<Vec<_>>()
        };
        let program = home.binary().display().to_string();
        assert_eq!(words("cmdline"), [program.as_str(), "primary", name]);
        let environment = words("environ");
        for expected in [format!("SUPERVISOR_APP={name}"), "OF_THIS_START=yes".to_owned()] {
            assert!(environment.contains(&expected), "{expected} is not in {environment:?}");
        }
        let folder = std::fs::read_link(format!("/proc/{pid}/cwd")).expect("it runs");
        assert_eq!(folder.to_str(), Some("/"));
    }
}

/// The keepers of one command are forked from one process, so their memory is one. Nothing else of
/// an app comes from another, and every later life of it goes on as usual.
#[test]
fn apps_that_start_together_share_memory_and_nothing_else() {
    let home = tests::home!();
    let file = file(&home, 3, r#"["sleep", "1000"]"#, "ready = \"uptime\"\nmin_uptime = \"0s\"");
    let start = home.command().args(["start", &file]).env("OF_THIS_START", "yes").output();
    let start = start.expect("it runs");
    assert!(start.status.success(), "{}", String::from_utf8_lossy(&start.stderr));
    let keeper = |name: &str| home.app(name).keeper_pid.expect("it has a keeper");
    let mut places = Vec::new();
    for name in names(3) {
        let app = home.app(&name);
        assert_argv_environ(&home, &name, &[keeper(&name), app.primary_pid]);
        places.push(place(app.primary_pid));
        let worker = process::get(home.pids(&name)[0]).expect("it runs");
        assert_eq!((worker.name.as_str(), worker.parent), ("sleep", keeper(&name)));
    }
    places.dedup();
    assert_eq!(places.len(), 1, "each was executed: {places:?}");
    let others = process::of_home(home.path())
        .into_iter()
        .filter(|one| !["sleep", "keep:", "sup:"].iter().any(|of| one.name.starts_with(of)));
    assert_eq!(others.count(), 0, "the zygote has ended with its command");

    let workers = home.pids("a000");
    let app = home.kill_primary("a000", Signal::SIGKILL);
    assert_argv_environ(&home, "a000", &[keeper("a000"), app.primary_pid]);
    assert_eq!(home.pids("a000"), workers, "the worker is adopted");
    home.run(&["upgrade", "a001"]).ok();
    let app = home.app("a001");
    assert_ne!(place(app.primary_pid), places[0], "an upgrade executes the program");
    home.run(&["delete", "all"]).ok();
    home.nothing_left();
}

#[test]
fn one_app_that_fails_stops_no_other() {
    let home = tests::home!();
    let text = "[app.bad]\ncommand = [\"false\"]\n[app.good]\ncommand = [\"sleep\", \"1000\"]\n\
                [app.last]\ncommand = [\"sleep\", \"1000\"]\n[defaults]\nlisten_wait = \"100ms\"\n";
    let file = home.write("some.toml", text).display().to_string();
    let outcome = home.run(&["start", &file]).code(1).says(&["bad"]);
    assert_eq!(order(&outcome.stdout), ["good", "last"]);
    let outcome = home.run(&["stop", "good", "none", "last"]).code(3);
    assert_eq!(order(&outcome.stdout), ["good", "last"]);
}

/// The first start waits for the time that a server may need, and later ones do not.
#[test]
fn a_command_that_served_nothing_is_not_waited_for_again() {
    let home = tests::home!();
    let timed = |args: &[&str]| {
        let began = Instant::now();
        home.run(args).ok();
        began.elapsed()
    };
    let start = ["start", "-n", "quiet", "--min-uptime", "10ms", "--", "sleep", "1000"];
    let first = timed(&start);
    assert!(first >= Duration::from_secs(5), "{first:?}");
    let hard = timed(&["restart", "--hard", "quiet"]);
    assert!(hard < Duration::from_secs(5), "{hard:?}");
    home.run(&["delete", "quiet"]).ok();
    let second = timed(&start);
    assert!(second < Duration::from_secs(5), "{second:?}");
    let other = ["start", "-n", "other", "--min-uptime", "10ms", "--", "sleep", "1001"];
    let other = timed(&other);
    assert!(other >= Duration::from_secs(5), "another command: {other:?}");
}

/// A scrape of the exporter asks each app anew. Prints how long that takes.
fn scrape_all(home: &Home, apps: usize) {
    let port = Port::new();
    let exporter = home.spawn(&["metrics", "--listen", &port.to_string()]);
    wait_until("the exporter", LIMIT, || exporter.stdout().contains("/metrics").then_some(()));
    let scrape = || {
        // Scrapes within a second of each other share one answer.
        let_pass(Duration::from_millis(1100));
        let began = Instant::now();
        let mut connection = Connection::open(port.v4(), LIMIT).expect("it listens");
        let text = connection.get("/metrics", true).expect("an answer").body;
        let took = began.elapsed();
        let up = text.lines().filter(|line| line.starts_with("supervisor_up{"));
        assert_eq!(up.filter(|line| line.ends_with(" 1")).count(), apps, "{text}");
        took
    };
    let mut times: Vec<Duration> = (0..5).map(|_| scrape()).collect();
    times.sort();
    println!("scrapes of {apps} apps: {times:?}");
    process::kill(exporter.pid(), Signal::SIGTERM);
    exporter.end(LIMIT).ok();
}

#[test]
fn heavy_a_hundred_apps() {
    let _exclusive = exclusive();
    let home = tests::home!();
    let quick = "ready = \"uptime\"\nmin_uptime = \"100ms\"";
    let file = file(&home, 100, r#"["sleep", "1000"]"#, quick);
    let started = home.run_for(LIMIT, &["start", &file]).ok();
    assert_eq!(order(&started.stdout), names(100));
    let apps = home.list();
    assert_eq!(apps.len(), 100);
    assert!(apps.iter().all(|app| app.ready == 1), "{apps:#?}");
    scrape_all(&home, 100);
    let reloaded = home.run_for(LIMIT, &["reload", "all"]).ok();
    assert_eq!(order(&reloaded.stdout), names(100));
    assert!(home.list().iter().all(|app| app.generation == 2 && app.ready == 1));
    let deleted = home.run_for(LIMIT, &["delete", "all"]).ok();
    assert_eq!(order(&deleted.stdout), names(100));
    home.nothing_left();
}
