use super::*;
use crate::cli::args::{Cli, Verb};
use clap::Parser;
use config::spec::{Instances, RestartOn};
use std::time::Duration;

/// What `argv` means in a folder with the files `app.js` and `run`.
fn planned(argv: &[&str], known: &[&str]) -> Result<Plan, Failure> {
    let dir = tempfile::tempdir().unwrap();
    for file in ["app.js", "run"] {
        std::fs::write(dir.path().join(file), "").unwrap();
    }
    let argv = [&["supervisor", "start"], argv].concat();
    let Verb::Start(args) = Cli::try_parse_from(argv).unwrap().verb else { panic!() };
    let known: Vec<String> = known.iter().map(|&name| name.to_owned()).collect();
    plan(&args, dir.path(), &known)
}

fn spec(argv: &[&str]) -> AppSpec {
    match planned(argv, &[]).unwrap() {
        Plan::Launch(mut specs) if specs.len() == 1 => specs.remove(0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_command_is_taken_as_it_is() {
    let spec = spec(&["-i", "3", "--", "/bin/server", "--port", "1"]);
    assert_eq!(spec.command, ["/bin/server", "--port", "1"]);
    assert_eq!((spec.name.as_str(), spec.wanted), ("server", 3));
    assert_eq!(spec.instances, Instances::Count(3));
    assert!(spec.cwd.is_absolute());
    assert_eq!(spec.source, None);
}

#[test]
fn a_file_gets_its_interpreter_and_arguments() {
    let spec = spec(&["app.js", "a", "--", "--port", "3"]);
    assert_eq!(spec.command[0], "node");
    assert!(Path::new(&spec.command[1]).is_absolute());
    assert_eq!(spec.command[2..], ["a", "--port", "3"]);
    assert_eq!((spec.name.as_str(), spec.wanted), ("app", 1));
}

#[test]
fn options_reach_the_spec() {
    let spec = spec(&[
        "run",
        "--wait-ready",
        "--kill-timeout",
        "1s",
        "--restart",
        "never",
        "--no-intercept",
        "-e",
        "A=1",
        "-e",
        "A=2",
        "--stop-signal",
        "QUIT",
        "--cwd",
        "/",
    ]);
    assert_eq!(spec.ready, ReadyRule::Notify);
    assert_eq!(spec.times.kill_timeout, Duration::from_secs(1));
    assert_eq!(spec.times.ready_timeout, Duration::from_secs(30));
    assert_eq!(spec.restart.on, RestartOn::Never);
    assert!(!spec.intercept);
    assert_eq!((spec.env["A"].as_str(), spec.stop_signal), ("2", 3));
    assert_eq!(spec.cwd, Path::new("/"));
}

#[test]
fn names_of_apps_are_revived_and_files_come_first() {
    let revive = |names: &[&str]| Plan::Revive(names.iter().map(|&n| n.to_owned()).collect());
    assert_eq!(planned(&["web"], &["web"]), Ok(revive(&["web"])));
    assert_eq!(planned(&["web", "api"], &["web", "api"]), Ok(revive(&["web", "api"])));
    assert_eq!(planned(&["all"], &[]), Ok(revive(&["all"])));
    assert!(matches!(planned(&["run"], &["run"]), Ok(Plan::Launch(_))));
}

#[test]
fn what_is_refused_in_one_line() {
    for (argv, expected) in [
        (&[][..], "nothing to start"),
        (&["web"], "there is no file web and no app of that name"),
        (&["known", "-i", "2"], "is started as it was"),
        (&["known", "--", "x"], "there is no file known"),
        (&["--name", "a/b", "--", "x"], "\"a/b\" cannot be a name"),
        (&["--cwd", "/nowhere", "--", "x"], "there is no folder /nowhere"),
        (&["--user", "nobody-such", "--", "x"], "there is no user \"nobody-such\""),
        (&["-l", "127.0.0.1:1", "-l", "b=127.0.0.1:1", "--", "x"], "is named twice"),
        (&["-l", "a=127.0.0.1:1", "-l", "a=127.0.0.1:2", "--", "x"], "two addresses are called"),
        (&["--", ""], "the command is empty"),
        (&["--name", "x", "--", ""], "the command is empty"),
    ] {
        let failure = planned(argv, &["known"]).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage, "{argv:?}");
        assert!(failure.reason.contains(expected), "{argv:?}: {}", failure.reason);
        assert_eq!(failure.reason.lines().count(), 1, "{}", failure.reason);
    }
}

#[test]
fn a_configuration_file_takes_no_options_of_an_app() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(CONFIG_FILE), "").unwrap();
    for argv in [
        &["supervisor.toml", "-i", "2"][..],
        &["-i", "2"],
        &["supervisor.toml", "more"],
        &["supervisor.toml", "--", "more"],
    ] {
        let argv = [&["supervisor", "start"], argv].concat();
        let Verb::Start(args) = Cli::try_parse_from(&argv).unwrap().verb else { panic!() };
        let failure = plan(&args, dir.path(), &[]).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage, "{argv:?}");
    }
}
