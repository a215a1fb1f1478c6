//! `save` writes down the running apps, and `resurrect` starts them again after a reboot.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use tests::{Home, Port, fixtures, http, process, run};

const SOON: Duration = Duration::from_secs(60);

fn dump(home: &Home) -> PathBuf {
    home.path().join("state/saved.dump")
}

/// Starts an app from a command line and one from a file. Returns their ports.
fn two_apps(home: &Home) -> Option<[Port; 2]> {
    let ports = [Port::new(), Port::new()];
    let mut command = home.command();
    command.env("RAW", OsStr::from_bytes(b"\xff"));
    command.env("FROM_THE_SHELL", "kept").args(["start", "-n", "typed", "-i", "2"]);
    command.args(["--env", "TOKEN=hunter2", "--"]).args(fixtures::pid_server(&ports[0])?);
    run::spawn(&mut command, home.path()).end(SOON).ok();
    let file = home.config("filed", &fixtures::pid_server(&ports[1])?, "instances = 1\n");
    home.run(&["start", &file]).ok();
    Some(ports)
}

#[test]
fn saved_apps_run_again() {
    let home = tests::home!();
    home.run(&["resurrect"]).code(1).says(&["supervisor save"]).one_line();
    home.run(&["save"]).code(1).says(&["no app runs", "--empty"]).one_line();
    let Some(ports) = two_apps(&home) else { return };
    home.run(&["scale", "filed", "2"]).ok();
    home.start("idle", &["--listen-wait", "100ms"], &["sleep", "1000"]).ok();
    home.run(&["stop", "idle", "--fast"]).ok();
    let saved = home.run(&["save"]).ok();
    assert!(saved.stdout.contains("filed, typed"), "{saved:#?}");
    assert!(saved.stderr.contains("idle: not saved"), "{saved:#?}");
    let mode = fs::metadata(dump(&home)).expect("the dump").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    home.go_down();
    let outcome = home.run(&["resurrect", "--json"]).ok();
    assert!(!(outcome.stdout.clone() + &outcome.stderr).contains("hunter2"));
    assert_eq!(outcome.json().as_array().map(Vec::len), Some(2));
    for port in &ports {
        http::get(port.v4(), SOON).expect("an answer");
    }
    assert_eq!((home.app("typed").ready, home.app("filed").ready), (2, 2));
    let environment =
        fs::read(format!("/proc/{}/environ", home.pids("typed")[0])).expect("it lives");
    assert!(environment.split(|byte| *byte == 0).any(|variable| variable == b"RAW=\xff"));
    let environment = String::from_utf8_lossy(&environment).into_owned();
    assert!(environment.contains("FROM_THE_SHELL=kept") && environment.contains("TOKEN=hunter2"));
    // A reload reads the file, as before.
    home.run(&["reload", "filed"]).ok();
    assert_eq!(home.app("filed").wanted, 2);

    // A second time, nothing is started twice.
    let before = home.pids("typed");
    let again = home.run(&["resurrect"]).ok();
    assert_eq!(again.stdout.matches("runs already").count(), 2, "{again:#?}");
    assert_eq!(home.pids("typed"), before);
    home.run(&["delete", "typed"]).ok();
    home.run(&["resurrect", "typed"]).ok();
    home.run(&["resurrect", "nothing"]).code(3).says(&["nothing"]).one_line();
    home.run(&["delete", "all"]).ok();
    home.nothing_left();
}

#[test]
fn an_app_that_fails_does_not_stop_the_others() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(server) = fixtures::pid_server(&port) else { return };
    let folder = home.path().join("gone");
    fs::create_dir(&folder).expect("a folder");
    let options = ["--listen-wait", "100ms", "--cwd", &folder.display().to_string()];
    home.start("a", &options, &["sleep", "1000"]).ok();
    home.start("b", &[], &server).ok();
    home.run(&["save"]).ok();
    home.go_down();
    fs::remove_dir(&folder).expect("remove it");
    let outcome = home.run(&["resurrect"]).code(1).says(&["a", "gone"]);
    assert!(outcome.stdout.contains("b: 1 worker ready"), "{outcome:#?}");
    http::get(port.v4(), SOON).expect("an answer");
}

#[test]
fn a_broken_dump_is_refused_and_the_previous_one_is_offered() {
    let home = tests::home!();
    let Some(ports) = two_apps(&home) else { return };
    home.run(&["save"]).ok();
    home.run(&["delete", "filed"]).ok();
    home.run(&["save"]).ok();
    let whole = fs::read(dump(&home)).expect("the dump");
    home.go_down();
    for length in [0, 1, 60, whole.len() / 2, whole.len() - 1] {
        fs::write(dump(&home), &whole[..length]).expect("tear it");
        home.run(&["resurrect"]).code(1).says(&["cannot use", "--previous"]).one_line();
    }
    let mut changed = whole.clone();
    *changed.last_mut().expect("it is not empty") ^= 1;
    fs::write(dump(&home), changed).expect("change it");
    home.run(&["resurrect"]).code(1).says(&["checksum", "--previous"]).one_line();
    assert!(process::of_home(home.path()).is_empty(), "an app of a broken dump was started");

    home.run(&["resurrect", "--previous"]).ok();
    assert_eq!(home.list().len(), 2);
    http::get(ports[1].v4(), SOON).expect("an answer");
    // A broken dump does not replace the good one before it.
    home.run(&["save"]).ok();
    home.run(&["delete", "all"]).ok();
    home.run(&["resurrect", "--previous"]).ok();
    assert_eq!(home.list().len(), 2);
}

#[test]
fn an_app_that_does_not_answer_fails_the_save() {
    let home = tests::home!();
    let Some(_ports) = two_apps(&home) else { return };
    home.run(&["save"]).ok();
    let whole = fs::read(dump(&home)).expect("the dump");
    let primary = home.app("typed").primary_pid;
    process::kill(primary, Signal::SIGSTOP);
    home.run(&["save"]).code(1).says(&["typed", "nothing was saved"]).one_line();
    process::kill(primary, Signal::SIGCONT);
    assert_eq!(fs::read(dump(&home)).expect("the dump"), whole);
}

/// The state folder is a tiny file system, which is full.
#[test]
fn a_full_disk_keeps_what_was_saved() {
    let home = tests::home!();
    if !fixtures::need_root("mount") {
        return;
    }
    let script = "set -e; state=$SUPERVISOR_HOME/state; mkdir -p $state
        mount -t tmpfs -o size=64k tmpfs $state; chmod 700 $state
        \"$0\" start -n web --listen-wait 100ms -- sleep 1000 >&2; \"$0\" save >&2; cp $state/saved.dump $1
        head -c 1M /dev/zero > $state/filler 2>/dev/null || true
        code=0; \"$0\" save || code=$?; echo code $code
        cmp $state/saved.dump $1 && ls -A $state
        \"$0\" delete web --fast >&2; \"$0\" resurrect; \"$0\" delete web --fast >&2";
    let mut command = home.command_of("unshare");
    command.args(["--mount", "bash", "-c", script]).arg(home.binary());
    let outcome = run::spawn(command.arg(home.path().join("copy")), home.path()).end(SOON).ok();
    assert!(outcome.stdout.contains("code 1"), "{outcome:#?}");
    assert!(outcome.stdout.contains("web: 1 worker ready"), "{outcome:#?}");
    assert!(!outcome.stdout.contains(".new"), "a leftover: {outcome:#?}");
    outcome.says(&["cannot write", "what was saved before is kept", "no space left"]);
}
