//! Tests of the plan that `start` makes of its arguments in a folder.

use super::*;
use crate::cli::args::parse;
use crate::cli::exit::Exit;
use config::spec::{Instances, ReadyRule, RestartOn};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// What `argv` means in a folder with the files `app.sh` and `run`.
fn planned(argv: &[&str], known: &[&str]) -> Result<Plan, Failure> {
    let dir = tempfile::tempdir().unwrap();
    for file in ["app.sh", "run"] {
        let path = dir.path().join(file);
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    let args: Args = parse(argv).unwrap();
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
    let spec = spec(&["-i", "3", "--", "/bin/true", "--port", "1"]);
    assert_eq!(spec.command, ["/bin/true", "--port", "1"]);
    assert_eq!((spec.name.as_str(), spec.wanted), ("true", 3));
    assert_eq!(spec.instances, Instances::Count(3));
    assert!(spec.cwd.is_absolute());
    assert_eq!(spec.source, None);
}

#[test]
fn a_program_of_path_needs_no_dashes() {
    for (argv, name, command) in [
        (&["sleep", "60"][..], "sleep", &["sleep", "60"][..]),
        (&["sh", "--name", "x", "--", "run.sh", "-v"], "x", &["sh", "run.sh", "-v"]),
        (&["sh run.sh --port 1"], "run", &["sh", "run.sh", "--port", "1"]),
        (&["sleep 1 && sleep 60"], "sh", &["sh", "-c", "sleep 1 && sleep 60"]),
    ] {
        let spec = spec(argv);
        assert_eq!((spec.name.as_str(), spec.command.join("|")), (name, command.join("|")));
    }
    let stopped = Plan::StartStopped(vec!["sleep".to_owned()]);
    assert_eq!(planned(&["sleep"], &["sleep"]), Ok(stopped), "an app goes before a program");
    let failure = planned(&["sleep 'x"], &[]).unwrap_err();
    assert!(failure.reason.contains("a quote"), "{}", failure.reason);
}

#[test]
fn a_file_gets_its_interpreter_and_arguments() {
    let spec = spec(&["app.sh", "a", "--", "--port", "3"]);
    assert_eq!(spec.command[0], "sh");
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
fn names_mean_stopped_apps_and_files_come_first() {
    let stopped =
        |names: &[&str]| Plan::StartStopped(names.iter().map(|&name| name.to_owned()).collect());
    assert_eq!(planned(&["web"], &["web"]), Ok(stopped(&["web"])));
    assert_eq!(planned(&["web", "api"], &["web", "api"]), Ok(stopped(&["web", "api"])));
    assert_eq!(planned(&["all"], &[]), Ok(stopped(&["all"])));
    assert!(matches!(planned(&["run"], &["run"]), Ok(Plan::Launch(_))));
}

#[test]
fn what_is_refused_in_one_line() {
    for (argv, expected) in [
        (&[][..], "nothing to start"),
        (&["web"], "there is no file web, no app of that name"),
        (&["known", "-i", "2"], "is started as it was"),
        (&["known", "--", "x"], "there is no file known"),
        (&["--name", "a/b", "--", "true"], "the name \"a/b\" contains \"/\""),
        (&["--cwd", "/nowhere", "--", "true"], "cannot use cwd /nowhere"),
        (&["--user", "nobody-such", "--", "true"], "there is no user \"nobody-such\""),
        (&["-l", "127.0.0.1:1", "-l", "b=127.0.0.1:1", "--", "true"], "127.0.0.1:1"),
        (&["-l", "a=127.0.0.1:1", "-l", "a=127.0.0.1:2", "--", "true"], "\"a\""),
        (&["--no-intercept", "--ready", "listen", "--", "true"], "needs intercept"),
        (&["--", ""], "the command is empty"),
        (&["--env", "A", "run"], "--env A: expected KEY=VALUE"),
        (&["--name", "x", "--", ""], "the command is empty"),
    ] {
        let failure = planned(argv, &["known"]).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage, "{argv:?}");
        assert!(failure.reason.contains(expected), "{argv:?}: {}", failure.reason);
        assert_eq!(failure.reason.lines().count(), 1, "{}", failure.reason);
    }
}

#[test]
fn a_configuration_file_names_its_apps_and_takes_no_arguments() {
    let dir = tempfile::tempdir().unwrap();
    let two = "[app.a]\ncommand = \"true\"\n[app.b]\ncommand = \"true\"\n";
    std::fs::write(dir.path().join(CONFIG_FILE), two).unwrap();
    for argv in [
        &["supervisor.toml", "-n", "x"][..],
        &["-l", "8000"],
        &["supervisor.toml", "more"],
        &["supervisor.toml", "--", "more"],
    ] {
        let args: Args = parse(argv).unwrap();
        let failure = plan(&args, dir.path(), &[]).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage, "{argv:?}");
    }
}

#[test]
fn a_missing_program_has_failed() {
    let failure = planned(&["--", "no-such-program"], &[]).unwrap_err();
    assert_eq!(failure.exit, Exit::Failed);
    assert!(failure.reason.contains("\"no-such-program\" is in no folder"), "{}", failure.reason);
}

#[test]
fn a_configuration_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let two = "[app.a]\ncommand = \"true\"\n[app.b]\ncommand = \"true\"\n";
    std::fs::write(dir.path().join(CONFIG_FILE), two).unwrap();
    let planned = |argv: &[&str]| {
        let args: Args = parse(argv).unwrap();
        plan(&args, dir.path(), &[])
    };
    let names = |argv: &[&str]| match planned(argv) {
        Ok(Plan::Launch(specs)) => specs.into_iter().map(|spec| spec.name).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(names(&[]), ["a", "b"]);
    assert_eq!(names(&["supervisor.toml", "--only", "b"]), ["b"]);
    let Ok(Plan::Launch(specs)) = planned(&["--only", "a", "-e", "K=V"]) else { panic!() };
    assert_eq!(specs[0].env["K"], "V");
    assert_eq!(specs[0].overrides.as_ref().unwrap().flags(), ["--env K"]);
    let Ok(Plan::Launch(specs)) = planned(&["-i", "3", "-l", "8000", "--only", "b"]) else {
        panic!()
    };
    assert_eq!((specs[0].wanted, specs[0].listen.len()), (3, 1));
    assert_eq!(specs[0].source, Some(dir.path().join(CONFIG_FILE)));
    let one = format!("{two}autostart = false\n");
    std::fs::write(dir.path().join(CONFIG_FILE), one).unwrap();
    assert_eq!(names(&[]), ["a"]);
    assert_eq!(names(&["--only", "b"]), ["b"]);
    let none = "command = \"true\"\nautostart = false\n";
    std::fs::write(dir.path().join(CONFIG_FILE), none).unwrap();
    assert!(planned(&[]).unwrap_err().reason.contains("autostart is false for true"));
    std::fs::write(dir.path().join(CONFIG_FILE), two).unwrap();
    assert!(planned(&["--only", "c"]).unwrap_err().reason.contains("it has a, b"));
    assert!(planned(&["--foreground"]).unwrap_err().reason.contains("--only"));

    std::fs::write(dir.path().join(CONFIG_FILE), "comand = \"true\"\n").unwrap();
    let failure = planned(&[]).unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    assert!(failure.reason.contains("supervisor.toml:1:1"), "{}", failure.reason);
}
