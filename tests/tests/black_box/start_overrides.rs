//! Flags of `start` beside a configuration file override it: through reloads and changes of the
//! file, a stop, the death of the primary, an upgrade and a reboot. Without a file, flags set the
//! user and the limits of workers.

use std::fs;
use std::time::Duration;

use ipc::control::{Reply, Request};
use nix::sys::signal::Signal;
use tests::{Home, Port, fixtures, process};

const SOON: Duration = Duration::from_secs(60);

/// What the worker in slot 0 got: two variables, its umask and its nice value.
fn given(home: &Home) -> (String, String, String, String) {
    let pid = home.pids("web")[0];
    let environ = fs::read(format!("/proc/{pid}/environ")).expect("the worker lives");
    let environ = String::from_utf8_lossy(&environ).into_owned();
    let variable = |name: &str| {
        let found = environ.split('\0').find_map(|one| one.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or("none").to_owned()
    };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:")).expect("a umask");
    (variable("SAID"), variable("FILED"), umask.trim().to_owned(), nice_of(&pid.to_string()))
}

fn nice_of(pid: &str) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    fields.split_whitespace().nth(16).expect("a nice value").to_owned()
}

#[track_caller]
fn assert_given(home: &Home, said: &str, filed: &str, umask: &str, nice: &str) {
    let expected = [said, filed, umask, nice].map(str::to_owned);
    assert_eq!(given(home), expected.into());
}

#[test]
fn a_flag_beside_a_file_stays() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    let write = |filed: &str, more: &str| {
        let lines = format!(
            "min_uptime = \"100ms\"\ninstances = 1\numask = \"077\"\n{more}\
             env = {{ SAID = \"file\", FILED = \"{filed}\" }}\n"
        );
        home.config("web", &command, &lines)
    };
    let file = write("1", "");
    home.run(&["start", &file, "--name", "x"]).code(2).says(&["names its apps"]).one_line();
    home.run(&["start", &file, "-e", "SAID=hunter2", "-i", "2", "--umask", "027"]).ok();
    assert_given(&home, "hunter2", "1", "0027", &nice_of("self"));
    assert_eq!(home.app("web").wanted, 2);
    let shown = home.run(&["describe", "web"]).ok().stdout;
    assert!(shown.contains("--env SAID, --instances 2, --umask, from the command line"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");

    // A reload takes other changes of the file, and says what it keeps.
    write("2", "nice = 3\n");
    let reloaded = home.run(&["reload", "web"]).ok();
    assert!(reloaded.stdout.contains("kept from the command line: --env SAID"), "{reloaded:#?}");
    assert!(!reloaded.stdout.contains("hunter2"), "{reloaded:#?}");
    assert_given(&home, "hunter2", "2", "0027", "3");
    assert_eq!(home.app("web").wanted, 2);
    home.run(&["scale", "web", "1"]).ok();
    home.run(&["restart", "web", "--hard"]).ok();
    assert_given(&home, "hunter2", "2", "0027", "3");
    assert_eq!(home.app("web").wanted, 1);

    // The flags outlive a stop.
    home.run(&["stop", "web", "--fast"]).ok();
    home.run(&["start", "web"]).ok();
    write("3", "nice = 3\n");

    // They also outlive the death of the primary, an upgrade and a reboot.
    let first = home.app("web").primary_pid;
    process::kill(first, Signal::SIGKILL);
    home.wait_app("web", "a successor", SOON, |app| app.primary_pid != first && app.ready == 1);
    home.run(&["reload", &file]).ok();
    assert_given(&home, "hunter2", "3", "0027", "3");
    home.run(&["upgrade", "web"]).ok();
    home.run(&["save"]).ok();
    home.go_down();
    home.run(&["resurrect"]).ok();
    write("4", "nice = 3\n");
    home.run(&["reload", "web", "-e", "FILED=later"]).ok();
    assert_given(&home, "hunter2", "later", "0027", "3");
    // Flags of a reload stay like those of the start.
    home.run(&["reload", "web"]).ok();
    assert_given(&home, "hunter2", "later", "0027", "3");

    let written = home.run(&["reload", "web", "--as-written"]).ok();
    assert!(!written.stdout.contains("kept"), "{written:#?}");
    assert_given(&home, "file", "4", "0077", "3");
    home.run(&["delete", "web", "--fast"]).ok();
    home.nothing_left();
}

/// A unit keeps the flags and reads the file when the machine starts.
#[test]
fn a_unit_has_the_flags_and_reads_the_file() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    let write =
        |filed: &str| home.config("web", &command, &format!("env = {{ FILED = \"{filed}\" }}\n"));
    let file = write("1");
    home.run(&["start", &file]).ok();
    let plain = home.run(&["unit", "web"]).ok().stdout;
    assert!(plain.contains("--only") && !plain.contains("--spec"), "{plain}");
    home.run(&["delete", "web", "--fast"]).ok();

    home.run(&["start", &file, "-e", "SAID=flag"]).ok();
    let said = home.run(&["unit", "web"]).ok().stdout;
    assert!(said.contains("--spec"), "{said}");
    let Reply::Spec(spec) = home.ask("web", &Request::Spec).answer(SOON) else { panic!() };
    let spec = home.write("web.json", &serde_json::to_string(&spec).expect("it is JSON"));
    home.run(&["delete", "web", "--fast"]).ok();
    write("2");
    let running = home.spawn(&["start", "--foreground", "--spec", &spec.display().to_string()]);
    home.wait_app("web", "its worker", SOON, |app| app.ready == 1);
    assert_given(&home, "flag", "2", &given(&home).2, &nice_of("self"));
    home.run(&["reload", "web"]).ok();
    assert_given(&home, "flag", "2", &given(&home).2, &nice_of("self"));
    process::kill(running.pid(), Signal::SIGTERM);
    running.end(SOON).ok();
}

#[test]
fn flags_are_validated_together_with_the_file() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    let file = home.config("web", &command, "min_uptime = \"100ms\"\nbalance = \"hash\"\n");
    home.run(&["start", &file, "--engine", "primary"]).code(2).says(&["need engine"]).one_line();
    home.run(&["start", &file, "--limits", "files=7"]).code(2).says(&["nofile"]);
    home.run(&["start", &file, "--umask", "9"]).code(2).says(&["octal"]);
    home.run(&["start", &file, "--engine", "kernel"]).ok();
    // The file changes so that the flag contradicts it: the reload changes nothing.
    home.config("web", &command, "min_uptime = \"100ms\"\nbalance = \"least-connections\"\n");
    home.run(&["reload", "web"]).code(2).says(&["least-connections"]).one_line();
    assert_eq!(home.app("web").generation, 1);
    home.run(&["reload", "web", "--as-written"]).ok();
    // Without a file there is nothing to go back to.
    home.start("typed", &["--listen-wait", "100ms"], &["sleep", "1000"]).ok();
    home.run(&["reload", "typed", "--as-written"]).code(2).says(&["no file"]).one_line();
}

#[test]
fn limits_of_workers_without_a_file() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    let flags = ["--umask", "027", "--nice", "7", "--oom-score-adj", "321", "--no-new-privs"];
    let flags = [&flags[..], &["--limits", "nofile=200:300", "--limits", "core=0"]].concat();
    home.start("web", &flags, &command).ok();
    assert_given(&home, "none", "none", "0027", "7");
    let pid = home.pids("web")[0];
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).expect("it lives");
    assert_eq!(read("oom_score_adj").trim(), "321");
    assert!(read("status").lines().any(|line| line == "NoNewPrivs:\t1"));
    for (name, soft, hard) in [("Max open files", "200", "300"), ("Max core file size", "0", "0")] {
        let limits = read("limits");
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        assert_eq!(line.split_whitespace().take(2).collect::<Vec<_>>(), [soft, hard], "{name}");
    }
}

#[test]
fn groups_and_operators_without_a_file() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: only root can change users");
        return;
    }
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    let flags = ["--user", "nobody", "--groups", "70003", "--operators", "70001"];
    home.start("web", &flags, &command).ok();
    let pid = home.pids("web")[0];
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).expect("groups");
    assert!(groups.split_whitespace().any(|group| group == "70003"), "{groups}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(home.socket("web")).expect("the socket").permissions(),
    );
    assert_eq!(mode & 0o777, 0o660);

    let Some(home) = tests::home_of_nobody!() else { return };
    home.start("web", &["--groups", "root"], &command).code(6).says(&["only root"]).one_line();
}
