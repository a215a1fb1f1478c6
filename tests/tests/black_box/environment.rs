//! What workers inherit: the environment of the start, the values that the last `apply` found, and
//! the environment of a reload with `--update-env`.

use std::fs;

use tests::Home;
use tests::home::LIMIT;
use tests::run::{Outcome, spawn};

/// The program is ready and observed at once.
const FAST: [&str; 6] = ["--ready", "uptime", "--min-uptime", "50ms", "--observe", "50ms"];

/// Runs a command with more variables.
fn run(home: &Home, variables: &[(&str, &str)], args: &[&str]) -> Outcome {
    let mut command = home.command();
    command.args(args).envs(variables.iter().copied()).current_dir(home.path());
    spawn(&mut command, home.path()).end(LIMIT)
}

/// The value of a variable in the worker of the app.
fn variable(home: &Home, app: &str, name: &str) -> Option<String> {
    let pid = home.pids(app)[0];
    let environ = fs::read(format!("/proc/{pid}/environ")).expect("the worker lives");
    let environ = String::from_utf8_lossy(&environ).into_owned();
    let begin = format!("{name}=");
    environ.split('\0').find_map(|pair| pair.strip_prefix(&begin).map(str::to_owned))
}

#[test]
fn a_reload_after_apply_keeps_the_values_of_the_apply() {
    let home = tests::home!();
    let text = "name = \"web\"\ncommand = \"sleep 1000\"\nready = \"uptime\"\nmin_uptime = \
                \"50ms\"\nobserve = \"50ms\"\n[env]\nTOKEN = \"${TOKEN}\"\nMODE = \"${MODE:-plain}\"\n";
    let file = home.write("web.toml", text).display().to_string();
    let values = || ["TOKEN", "MODE"].map(|name| variable(&home, "web", name).unwrap_or_default());
    run(&home, &[("TOKEN", "one"), ("MODE", "first")], &["start", &file]).ok();
    assert_eq!(values(), ["one", "first"]);
    run(&home, &[("TOKEN", "two")], &["apply", &file]).ok();
    assert_eq!(values(), ["two", "plain"]);
    for verb in ["reload", "restart"] {
        run(&home, &[("TOKEN", "ignored")], &[verb, "web"]).ok();
        assert_eq!(values(), ["two", "plain"], "{verb}");
    }
    run(&home, &[("TOKEN", "three"), ("NEW", "1")], &["reload", "web", "--update-env"]).ok();
    assert_eq!(values(), ["three", "plain"]);
    assert_eq!(variable(&home, "web", "NEW").as_deref(), Some("1"));
    run(&home, &[("TOKEN", "four")], &["reload", &file]).ok();
    assert_eq!(values(), ["four", "plain"]);
    run(&home, &[], &["reload", "web", "--no-wait"]).ok();
    run(&home, &[("TOKEN", "four")], &["plan", &file]).ok();
    run(&home, &[], &["delete", "web"]).ok();
    home.nothing_left();
}

#[test]
fn update_env_replaces_what_workers_inherit_and_env_adds() {
    let home = tests::home!();
    let start = [&["start", "--name", "x"][..], &FAST, &["--", "sleep", "1000"]].concat();
    run(&home, &[("A", "old"), ("B", "old")], &start).ok();
    assert_eq!(variable(&home, "x", "B").as_deref(), Some("old"));
    let update = ["restart", "x", "--hard", "--update-env", "-e", "C=1"];
    run(&home, &[("A", "new")], &update).ok();
    let value = |name: &str| variable(&home, "x", name);
    assert_eq!(
        (value("A").as_deref(), value("B"), value("C").as_deref()),
        (Some("new"), None, Some("1"))
    );
    run(&home, &[("A", "ignored")], &["reload", "x"]).ok();
    assert_eq!((value("A").as_deref(), value("B")), (Some("new"), None));
    // The app's own values go before what is inherited.
    run(&home, &[("C", "2")], &["reload", "x", "--update-env"]).ok();
    assert_eq!((value("A"), value("C").as_deref()), (None, Some("1")));
    assert_eq!(value("SUPERVISOR_SLOT").as_deref(), Some("0"));
    home.run(&["delete", "x"]).ok();
    home.nothing_left();
}
