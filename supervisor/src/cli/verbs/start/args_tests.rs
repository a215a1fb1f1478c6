//! Tests of the arguments of `start`: a table of argument lists and what each means.

use super::*;
use crate::cli::args::parse;
use config::spec::{Balance, Engine, Instances, ListenAddress, ReadyRule, RestartOn};
use std::time::Duration;

fn start(argv: &[&str]) -> Args {
    parse(argv).unwrap_or_else(|error| panic!("{argv:?}: {error}"))
}

#[test]
fn the_target_and_its_arguments() {
    let table: &[(&[&str], &[&str], &[&str])] = &[
        (&[], &[], &[]),
        (&["app.js"], &["app.js"], &[]),
        (&["app.js", "3000"], &["app.js", "3000"], &[]),
        (&["app.js", "--", "--port", "3"], &["app.js"], &["--port", "3"]),
        (&["-i", "2", "--", "CMD", "--flags", "-i", "9"], &[], &["CMD", "--flags", "-i", "9"]),
        (&["--", "CMD", "--", "-x"], &[], &["CMD", "--", "-x"]),
        (&["app.js", "-i", "2", "--name", "web"], &["app.js"], &[]),
        (&["--env", "A=1", "web", "api"], &["web", "api"], &[]),
    ];
    for (argv, target, rest) in table {
        let args = start(argv);
        assert_eq!((args.target, args.rest), (strings(target), strings(rest)), "{argv:?}");
    }
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[test]
fn the_number_of_workers() {
    for (argv, expected) in [
        (&["-i", "2"][..], Instances::Count(2)),
        (&["-i", "max"], Instances::Max),
        (&["-i", "-1"], Instances::MaxMinus(1)),
        (&["-i-1"], Instances::MaxMinus(1)),
        (&["--instances=-2"], Instances::MaxMinus(2)),
        (&["-i", "50%"], Instances::Percent(50)),
    ] {
        let args = start(&[argv, &["--", "CMD"]].concat());
        assert_eq!(args.app.instances, Some(expected), "{argv:?}");
    }
    for wrong in ["0", "banana", "-0", "--name"] {
        assert!(parse::<Args>(&["-i", wrong, "x.js"]).is_err(), "{wrong}");
    }
}

#[test]
fn every_option_of_an_app() {
    let args = start(&[
        "-n",
        "web",
        "--listen",
        "http=127.0.0.1:80",
        "-l",
        "unix:/run/x",
        "--balance",
        "sticky",
        "--engine",
        "kernel",
        "-e",
        "A=1=2",
        "--cwd",
        "/srv",
        "--user",
        "u",
        "--group",
        "g",
        "--ready",
        "listen",
        "--ready-timeout",
        "5s",
        "--min-uptime",
        "2s",
        "--listen-wait",
        "3s",
        "--kill-timeout",
        "4s",
        "--drain-timeout",
        "1m",
        "--drain-idle",
        "100ms",
        "--sticky-wait",
        "7s",
        "--hang-timeout",
        "45s",
        "--stop-signal",
        "INT",
        "--restart",
        "on-failure",
        "--no-intercept",
        "--passthrough",
        "127.0.0.1:9229",
        "--no-wait",
        "--timeout",
        "9s",
        "--json",
        "x.js",
    ]);
    let app = args.app;
    assert_eq!(app.name.as_deref(), Some("web"));
    assert_eq!(app.listen[0].name, "http");
    assert_eq!(app.listen[1].address, ListenAddress::Unix("/run/x".into()));
    assert_eq!((app.balance, app.engine), (Some(Balance::Sticky), Some(Engine::Kernel)));
    assert_eq!(app.env, [("A".to_owned(), "1=2".to_owned())]);
    assert_eq!(app.ready, Some(ReadyRule::Listen));
    assert_eq!(app.times.ready_timeout, Some(Duration::from_secs(5)));
    assert_eq!(app.times.min_uptime, Some(Duration::from_secs(2)));
    assert_eq!(app.times.listen_wait, Some(Duration::from_secs(3)));
    assert_eq!(app.times.kill_timeout, Some(Duration::from_secs(4)));
    assert_eq!(app.times.drain_timeout, Some(Duration::from_secs(60)));
    assert_eq!(app.times.drain_idle, Some(Duration::from_millis(100)));
    let (sticky, hang) = (Duration::from_secs(7), Duration::from_secs(45));
    assert_eq!((app.times.sticky_wait, app.times.hang_timeout), (Some(sticky), Some(hang)));
    assert_eq!(app.stop_signal, Some(2));
    assert_eq!(app.restart, Some(RestartOn::Failure));
    assert!(app.no_intercept && args.wait.no_wait && args.wait.json);
    assert_eq!(app.passthrough[0].port, Some(9229));
    assert_eq!(args.wait.timeout, Some(Duration::from_secs(9)));
}

#[test]
fn users_and_limits_of_workers() {
    let app = start(&[
        "--user",
        "u",
        "--group",
        "g",
        "--groups",
        "h",
        "--groups",
        "i",
        "--umask",
        "027",
        "--nice",
        "-5",
        "--oom-score-adj",
        "-7",
        "--no-new-privs",
        "--limits",
        "nofile=1:2",
        "--limits",
        "core=infinity",
        "--operators",
        "o",
        "--observers",
        "p",
        "x.js",
    ])
    .app;
    let rights = app.rights.said();
    let asked = rights.privileges;
    assert_eq!((asked.umask, asked.nice, asked.oom_score_adj), (Some(0o27), Some(-5), Some(-7)));
    assert_eq!((asked.groups.len(), asked.limits.len(), asked.no_new_privs), (2, 2, true));
    let named = [rights.user, rights.group, rights.operators, rights.observers];
    assert_eq!(named.map(Option::unwrap), ["u", "g", "o", "p"]);
}

#[test]
fn mistakes_are_refused() {
    for argv in [
        &["--wait-ready", "--ready", "auto", "x"][..],
        &["--foreground", "--json", "x"],
        &["--balance", "fair", "x"],
        &["--env", "=1", "x"],
        &["--env", "A", "x"],
        &["--kill-timeout", "soon", "x"],
        &["--stop-signal", "BANANA", "x"],
    ] {
        assert!(parse::<Args>(argv).is_err(), "{argv:?}");
    }
}
