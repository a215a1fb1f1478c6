//! Tests of the arguments of `start`: a table of argument lists and what each means.

use super::*;
use crate::cli::args::parse;
use crate::cli::verbs::definitions;
use config::cpus::Cpus;
use config::spec::{AppSpec, Balance, Engine, Instances, ListenAddress, ReadyRule, RestartOn};
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

/// What the flags make of an app with every default.
fn applied(options: &AppOptions) -> AppSpec {
    let mut spec = AppSpec::new("app", vec!["serve".to_owned()], "/".into());
    options.overrides.apply(&mut spec, &Cpus::read());
    spec
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
        assert!(args.app.overrides.has("instances"), "{argv:?}");
        assert_eq!(applied(&args.app).instances, expected, "{argv:?}");
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
    assert_eq!(args.app.overrides.name(), Some("web"));
    let app = applied(&args.app);
    assert_eq!(app.listen[0].name, "http");
    assert_eq!(app.listen[1].address, ListenAddress::Unix("/run/x".into()));
    assert_eq!((app.balance, app.engine), (Balance::Sticky, Engine::Kernel));
    assert_eq!(app.env, [("A".to_owned(), "1=2".to_owned())].into());
    assert_eq!(app.ready, ReadyRule::Listen);
    assert_eq!(app.times.ready_timeout, Duration::from_secs(5));
    assert_eq!(app.times.min_uptime, Duration::from_secs(2));
    assert_eq!(app.times.listen_wait, Duration::from_secs(3));
    assert_eq!(app.times.kill_timeout, Duration::from_secs(4));
    assert_eq!(app.times.drain_timeout, Duration::from_secs(60));
    assert_eq!(app.times.drain_idle, Duration::from_millis(100));
    let (sticky, hang) = (Duration::from_secs(7), Duration::from_secs(45));
    assert_eq!((app.times.sticky_wait, app.times.hang_timeout), (sticky, hang));
    assert_eq!(app.stop_signal, 2);
    assert_eq!(app.restart.on, RestartOn::Failure);
    assert!(!app.intercept && args.wait.no_wait && args.wait.json);
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
    let spec = applied(&app);
    let asked = spec.privileges;
    assert_eq!((asked.umask, asked.nice, asked.oom_score_adj), (Some(0o27), Some(-5), Some(-7)));
    assert_eq!((asked.groups.len(), asked.limits.len(), asked.no_new_privs), (2, 2, true));
    let named = [spec.user, spec.group, spec.operators, spec.observers];
    assert_eq!(named.map(Option::unwrap), ["u", "g", "o", "p"]);
}

#[test]
fn the_help_has_the_defaults() {
    let mut command = definitions();
    let start = command.find_subcommand_mut("start").unwrap();
    let help = start.render_help().to_string();
    for line in
        ["--kill-timeout <DURATION>", "Default: 10s.", "Default: round-robin.", "--no-node "]
    {
        assert!(help.contains(line), "{line} is missing: {help}");
    }
}

#[test]
fn mistakes_are_refused() {
    for argv in [
        &["--wait-ready", "--ready", "auto", "x"][..],
        &["--foreground", "--json", "x"],
        &["--balance", "fair", "x"],
        &["--env", "=1", "x"],
        &["--env", "A B", "x"],
        &["--kill-timeout", "soon", "x"],
        &["--stop-signal", "BANANA", "x"],
    ] {
        assert!(parse::<Args>(argv).is_err(), "{argv:?}");
    }
}
