//! The users and limits of workers, and the users that may query or command the primary. Runs as
//! root, with `nobody` as the other user.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use ipc::control::Status;
use nix::sys::signal::Signal;
use tests::run::{self, Outcome};
use tests::{Home, Port, fixtures, http, process, staging, wait_until};

use crate::hooks;

const SOON: Duration = Duration::from_secs(30);
const NOBODY: &str = "65534";
/// Groups without members and files on this machine.
const OPERATORS: &str = "70001";
const OBSERVERS: &str = "70002";

/// A home that other users can read. `None`, and a line on stderr, if the tests do not run as root.
fn home_of_root() -> Option<Home> {
    if !fixtures::need_root("change users") {
        return None;
    }
    let home = tests::home!();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("chmod the home");
    Some(home)
}

/// Starts `web` with these lines in its configuration.
fn start(home: &Home, port: &Port, lines: &str) -> Option<Outcome> {
    let file = home.config("web", &fixtures::pid_server(port)?, lines);
    Some(home.run(&["start", &file]))
}

/// Runs a command as `nobody` with this supplementary group.
fn as_member(home: &Home, group: &str, args: &[&str]) -> Outcome {
    let setpriv = fixtures::need("setpriv").expect("util-linux has it");
    let program = staging::program(home.built());
    let groups = format!("--groups={group}");
    let mut command = home.command_of(setpriv);
    command.args(["--reuid", NOBODY, "--regid", NOBODY, &groups, "--"]).arg(program).args(args);
    run::spawn(&mut command, home.path()).end(SOON)
}

/// The value of a line of /proc/PID/status.
fn status(pid: u32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the worker lives");
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {key} in {text}"))
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_worker_has_the_user_and_limits_of_the_configuration() {
    let (Some(home), port) = (home_of_root(), Port::new()) else { return };
    let lines = "user = \"nobody\"\ngroups = [70001, \"70002\"]\numask = \"027\"\nnice = 7\n\
                 oom_score_adj = 321\nno_new_privs = true\n\
                 limits = { nofile = \"200:300\", core = 0, nproc = \"400:500\", memlock = 4096 }\n";
    let Some(outcome) = start(&home, &port, lines) else { return };
    outcome.ok();
    let pid = home.pids("web")[0];
    let nobody = nix::unistd::User::from_name("nobody").expect("users").expect("nobody");
    assert_eq!(status(pid, "Uid"), vec![nobody.uid.to_string(); 4].join(" "));
    assert_eq!(status(pid, "Gid"), vec![nobody.gid.to_string(); 4].join(" "));
    let groups = status(pid, "Groups");
    let groups: Vec<&str> = groups.split(' ').collect();
    assert!(groups.contains(&OPERATORS) && groups.contains(&OBSERVERS), "{groups:?}");
    assert!(!groups.contains(&"0"), "a group of root is left: {groups:?}");
    assert_eq!(status(pid, "Umask"), "0027");
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    let adjustment = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("it lives");
    assert_eq!(adjustment.trim(), "321");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    assert_eq!(fields.split_whitespace().nth(16), Some("7"), "nice: {stat}");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it lives");
    for (name, soft, hard) in [
        ("Max open files", "200", "300"),
        ("Max core file size", "0", "0"),
        ("Max processes", "400", "500"),
        ("Max locked memory", "4096", "4096"),
    ] {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        let found: Vec<&str> = line.split_whitespace().take(2).collect();
        assert_eq!(found, [soft, hard], "{name}");
    }
    http::get(port.v4(), SOON).expect("an answer");
}

#[test]
fn groups_without_a_user() {
    let (Some(home), port) = (home_of_root(), Port::new()) else { return };
    let Some(outcome) = start(&home, &port, "groups = 70001\n") else { return };
    outcome.ok();
    let pid = home.pids("web")[0];
    assert_eq!(status(pid, "Uid"), "0 0 0 0");
    assert!(status(pid, "Groups").split(' ').any(|group| group == OPERATORS));
}

#[test]
fn a_refused_step_is_named() {
    let (Some(home), port) = (home_of_root(), Port::new()) else { return };
    let Some(outcome) = start(&home, &port, "limits.nofile = 4294967296\n") else { return };
    outcome.code(1).says(&[
        "cannot set the limits asked for",
        "nofile = 4294967296",
        "not permitted",
    ]);
    home.run(&["delete", "web"]);
    let Some(home) = tests::home_of_nobody!() else { return };
    for (line, step) in [
        ("nice = -10", "cannot set nice"),
        ("limits.nproc = \"infinity\"\nlimits.nofile = \"infinity\"", "cannot set the limits"),
        ("oom_score_adj = -1000", "cannot set oom_score_adj"),
    ] {
        let Some(outcome) = start(&home, &port, line) else { return };
        outcome.code(1).says(&[step]);
        // It has no app to run and ends by itself.
        wait_until("the primary to be gone", SOON, || home.list().is_empty().then_some(()));
    }
    let Some(outcome) = start(&home, &port, "groups = \"root\"\n") else { return };
    outcome.code(2).says(&["only root", "groups"]);
}

#[test]
fn an_ordinary_user_serves_a_low_port() {
    let Some(home) = home_of_root() else { return };
    let address = "127.66.0.1:81";
    let Some(mut command) = fixtures::pid_server(81) else { return };
    command.extend(["--bind", "127.66.0.1"].map(str::to_owned));
    home.start("web", &["-i", "2", "--user", "nobody", "--ports", "81"], &command).ok();
    for pid in home.pids("web") {
        assert!(status(pid, "Uid").starts_with(NOBODY));
    }
    http::get(address.parse().expect("an address"), SOON).expect("an answer");
    home.run(&["reload", "web"]).ok();
    http::get(address.parse().expect("an address"), SOON).expect("an answer");
}

#[test]
fn other_users_are_refused() {
    let (Some(home), port) = (home_of_root(), Port::new()) else { return };
    let Some(outcome) = start(&home, &port, "") else { return };
    outcome.ok();
    as_member(&home, OPERATORS, &["stop", "web"]).code(6);
    assert_eq!(home.app("web").status, Status::Ready);
}

#[test]
fn operators_change_and_observers_read() {
    let (Some(home), port) = (home_of_root(), Port::new()) else { return };
    let lines = format!(
        "operators = {OPERATORS}\nobservers = {OBSERVERS}\nmin_uptime = \"100ms\"\n\
         user = \"daemon\"\nenv = {{ TOKEN = \"hunter2\" }}\n"
    );
    let Some(outcome) = start(&home, &port, &lines) else { return };
    outcome.ok();
    for group in [OPERATORS, OBSERVERS] {
        let list = as_member(&home, group, &["list", "--json"]).ok().json();
        assert_eq!(list[0]["name"], "web");
        as_member(&home, group, &["describe", "web"]).ok();
        as_member(&home, group, &["metrics", "web"]).ok();
        let shown = as_member(&home, group, &["env", "web", "--show"]).ok().stdout;
        assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");
    }
    as_member(&home, OPERATORS, &["logs", "web"]).ok();
    for args in [["stop", "web"].as_slice(), &["scale", "web", "2"], &["delete", "web"]] {
        as_member(&home, OBSERVERS, args).code(6).says(&["look and not act"]);
        as_member(&home, NOBODY, args).code(6).says(&[OPERATORS, OBSERVERS]);
    }
    assert_eq!(as_member(&home, NOBODY, &["list"]).ok().stdout, "");

    as_member(&home, OPERATORS, &["scale", "web", "2"]).ok();
    as_member(&home, OPERATORS, &["reload", "web"]).ok();
    assert_eq!((home.app("web").generation, home.app("web").ready), (2, 2));
    let changed = ["reload", "web", "--env", "LD_PRELOAD=/tmp/mine.so"];
    as_member(&home, OPERATORS, &changed).code(6).says(&["own user"]);
    assert_eq!(home.app("web").generation, 2);
    // Another build would run as the user of the primary and know its secrets.
    let primary = home.app("web").primary_pid;
    let upgrade = ["upgrade", "web", "--binary", "/bin/true"];
    as_member(&home, OPERATORS, &upgrade).code(6).says(&["what is run"]);
    assert_eq!(home.app("web").primary_pid, primary);
    as_member(&home, OPERATORS, &["stop", "web"]).ok();
    as_member(&home, OPERATORS, &["delete", "web"]).ok();
    let sockets = home.files().into_iter().filter(|path| path.ends_with("web.sock"));
    assert_eq!(sockets.count(), 0, "the app is deleted");
}

/// The flags of the start stay, and their secrets stay secret. The file may name a user as which
/// the operator could run nothing.
#[test]
fn an_operator_reloads_what_was_started_with_flags() {
    let (Some(home), port) = (home_of_root(), Port::new()) else { return };
    let Some(command) = fixtures::pid_server(&port) else { return };
    let lines = format!("operators = {OPERATORS}\nmin_uptime = \"100ms\"\nuser = \"daemon\"\n");
    let file = home.config("web", &command, &lines);
    home.run(&["start", &file, "--env", "TOKEN=hunter2", "--umask", "027"]).ok();
    let reloaded = as_member(&home, OPERATORS, &["reload", "web"]).ok();
    assert!(reloaded.stdout.contains("--env TOKEN, --umask"), "{reloaded:#?}");
    let pid = home.pids("web")[0];
    let environment = fs::read(format!("/proc/{pid}/environ")).expect("the worker lives");
    assert!(String::from_utf8_lossy(&environment).contains("TOKEN=hunter2"));
    assert_eq!(status(pid, "Umask"), "0027");
    as_member(&home, OPERATORS, &["reload", "web", "--as-written"]).code(6).says(&["own user"]);
    assert_eq!(home.app("web").generation, 2);
}

#[test]
fn a_reload_changes_the_operators() {
    let (Some(home), port) = (home_of_root(), Port::new()) else { return };
    let Some(outcome) = start(&home, &port, "min_uptime = \"100ms\"\n") else { return };
    outcome.ok();
    let mode = |home: &Home| {
        fs::metadata(home.socket("web")).expect("the socket").permissions().mode() & 0o777
    };
    assert_eq!(mode(&home), 0o600);
    as_member(&home, OPERATORS, &["describe", "web"]).code(6);
    let Some(command) = fixtures::pid_server(&port) else { return };
    home.config("web", &command, &format!("operators = {OPERATORS}\nmin_uptime = \"100ms\"\n"));
    home.run(&["reload", "web"]).ok();
    assert_eq!(mode(&home), 0o660);
    as_member(&home, OPERATORS, &["describe", "web"]).ok();
    as_member(&home, OBSERVERS, &["describe", "web"]).code(6);
    home.config("web", &command, "min_uptime = \"100ms\"\n");
    home.run(&["reload", "web"]).ok();
    assert_eq!(mode(&home), 0o600);
    as_member(&home, OPERATORS, &["describe", "web"]).code(6);
}

#[test]
fn a_successor_knows_the_operators() {
    let (Some(home), port) = (home_of_root(), Port::new()) else { return };
    let Some(outcome) = start(&home, &port, &format!("operators = {OPERATORS}\n")) else { return };
    outcome.ok();
    let first = home.app("web").primary_pid;
    process::kill(first, Signal::SIGKILL);
    wait_until("the successor", SOON, || {
        let list = as_member(&home, OPERATORS, &["list", "--json"]).ok().json();
        (list[0]["status"] == "ready" && list[0]["primary_pid"] != first).then_some(())
    });
    as_member(&home, OBSERVERS, &["describe", "web"]).code(6);
    as_member(&home, OPERATORS, &["restart", "web"]).ok();
}

/// The test ends what the supervisor cannot.
struct Ended(u32);

impl Drop for Ended {
    fn drop(&mut self) {
        process::kill(self.0, Signal::SIGKILL);
    }
}

#[test]
fn heavy_a_worker_that_the_supervisor_cannot_kill_holds_nothing_up() {
    let _load = tests::under_load();
    let Some((home, program)) = hooks::of_nobody_with_root() else { return };
    let keys = "intercept = false\nready = \"uptime\"\nmin_uptime = \"100ms\"\nobserve = \"0s\"\n\
                kill_timeout = \"500ms\"\n";
    home.run(&["start", &home.config("web", &[program], keys)]).ok();
    let old = home.pids("web")[0];
    let _ended = Ended(old);
    let reload = home.spawn(&["reload", "web"]);
    let killed = "told to stop; killed by SIGKILL, and not ended yet";
    wait_until("the kill", SOON, || {
        let workers = home.app("web").workers;
        workers.iter().any(|one| one.reason.as_deref() == Some(killed)).then_some(())
    });
    reload.end(SOON).ok().shows(&["generation 2 serves"]);
    assert!(process::is_alive(old));
    let told = format!("the worker with pid {old} (slot 0) was killed and did not end");
    home.run(&["describe", "web"]).ok().shows(&[&told]);
    let new = home.pids("web");
    assert!(new.len() == 1 && new[0] != old, "{new:?}");
    // The note outlives the primary, and the next primary does not wait for the process again.
    home.kill_primary("web", Signal::SIGKILL);
    home.run(&["describe", "web"]).ok().shows(&[&told]);
    assert_eq!(home.pids("web"), new);
    let _ended = Ended(new[0]);
    home.run(&["delete", "web"]).ok();
    assert!(process::is_alive(new[0]));
}
