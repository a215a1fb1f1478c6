//! The command line: refusals are one line, say what to do and leave nothing behind; JSON parses;
//! secrets stay secret; logs; the foreground.

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use ipc::control::Status;
use nix::sys::signal::Signal;
use tests::{Home, Port, fixtures, http, process, wait_until};

const SOON: Duration = Duration::from_secs(15);

/// A home with the app `web` on a port. `None` if Python is not installed.
fn with_web(options: &[&str]) -> Option<(Home, Port)> {
    let (home, port) = (tests::home!(), Port::new());
    let command = fixtures::pid_server(&port)?;
    home.start("web", options, &command).ok();
    Some((home, port))
}

/// Runs a command that must fail with these words in one line and leave nothing behind.
#[track_caller]
fn refused(args: &[&str], says: &[&str]) {
    let home = tests::home!();
    let outcome = home.run(args).says(says).one_line();
    assert!(matches!(outcome.code, Some(1 | 2)), "exit code 1 or 2 expected: {outcome:#?}");
    home.nothing_left();
}

#[test]
fn a_missing_command_is_refused() {
    refused(&["start", "--", "no-such-command"], &["no-such-command", "in no folder of PATH"]);
    refused(&["start", "--", "/no/such/command"], &["/no/such/command"]);
    refused(&["start", "no-such-file.js"], &["no-such-file.js"]);
}

#[test]
fn a_bad_folder_is_refused() {
    refused(&["start", "--cwd", "/no/such/folder", "--", "sleep", "60"], &["/no/such/folder"]);
}

#[test]
fn an_unknown_user_is_refused() {
    refused(&["start", "--user", "nosuchuser", "--", "sleep", "60"], &["nosuchuser"]);
}

#[test]
fn another_user_is_refused_to_ordinary_users() {
    let Some(home) = tests::home_of_nobody!() else { return };
    let outcome = home.run(&["start", "--user", "root", "--", "sleep", "60"]);
    assert!(matches!(outcome.code, Some(1 | 2 | 6)), "{outcome:#?}");
    outcome.says(&["root"]);
    home.nothing_left();
}

#[test]
fn invalid_counts_are_refused() {
    for (count, words) in
        [("0", "at least 1"), ("banana", "\"max\""), ("1.5", "\"max\""), ("99999", "at most")]
    {
        refused(&["start", "-i", count, "--", "sleep", "60"], &[count, words]);
    }
}

#[test]
fn invalid_names_are_refused() {
    for name in ["a/b", "", ".hidden", "all", "a b"] {
        refused(&["start", "--name", name, "--", "sleep", "60"], &["name"]);
    }
}

#[test]
fn an_occupied_port_is_refused() {
    let (home, port) = (tests::home!(), Port::new());
    let holder = std::net::TcpListener::bind(port.v4()).unwrap();
    let Some(command) = fixtures::python::<&str>("activation.py", &[]) else { return };
    let listen = format!("127.0.0.1:{port}");
    home.start("web", &["--listen", &listen], &command).code(1).says(&[&listen, "in use"]);
    home.nothing_left();
    drop(holder);
}

#[test]
fn an_app_that_is_not_there_is_exit_code_3() {
    let home = tests::home!();
    for verb in ["stop", "reload", "restart", "delete", "describe", "env"] {
        home.run(&[verb, "ghost"]).code(3).says(&["ghost"]).one_line();
    }
    home.run(&["scale", "ghost", "2"]).code(3).says(&["ghost"]).one_line();
    home.run(&["signal", "ghost", "HUP"]).code(3).says(&["ghost"]).one_line();
}

#[test]
fn a_name_that_runs_is_not_started_again() {
    let Some((home, _port)) = with_web(&[]) else { return };
    let before = home.pids("web");
    home.start("web", &[], &["sleep", "60"]).code(1).says(&["web", "reload"]).one_line();
    assert_eq!(home.pids("web"), before);
}

#[test]
fn a_malformed_configuration_is_cited_by_line_and_column() {
    let home = tests::home!();
    let text = "name = \"web\"\ncommand = [\"sleep\", \"60\"]\ninstances = \"banana\"\n";
    let file = home.write("bad.toml", text).display().to_string();
    for verb in ["check", "start"] {
        home.run(&[verb, &file]).code(2).says(&["bad.toml:3:13", "banana"]);
    }
    let file = home.write("typo.toml", "comand = \"sleep 60\"\n").display().to_string();
    home.run(&["check", &file]).code(2).says(&["typo.toml:1:1", "comand", "command"]);
    let file = home.write("broken.toml", "command = [\n").display().to_string();
    home.run(&["check", &file]).code(2).says(&["broken.toml:"]);
    home.nothing_left();
}

#[test]
fn a_configuration_starts_all_its_apps() {
    let (home, ports) = (tests::home!(), [Port::new(), Port::new()]);
    let mut text = String::new();
    for (index, port) in ports.iter().enumerate() {
        let Some(command) = fixtures::pid_server(port) else { return };
        let command = serde_json::to_string(&command).unwrap();
        text += &format!("[app.app{index}]\ncommand = {command}\ninstances = 2\n");
    }
    let file = home.write("supervisor.toml", &text).display().to_string();
    home.run(&["check", &file]).ok();
    home.run(&["start", &file]).ok();
    for port in &ports {
        http::get(port.v4(), SOON).unwrap();
    }
    let names: Vec<String> = home.list().into_iter().map(|app| app.name).collect();
    assert_eq!(names, ["app0", "app1"]);
    home.run(&["reload", "all"]).ok();
    home.run(&["delete", "all"]).ok();
    home.nothing_left();
}

#[test]
fn stop_keeps_the_app_and_start_brings_it_back() {
    let Some((home, port)) = with_web(&["-i", "2"]) else { return };
    home.run(&["stop", "web"]).ok();
    let [app] = home.list().try_into().expect("a stopped app is listed");
    assert_eq!((app.status, app.ready), (Status::Stopped, 0));
    home.run(&["start", "web"]).ok();
    http::get(port.v4(), SOON).unwrap();
    let before = home.pids("web");
    home.run(&["restart", "web", "--hard"]).ok();
    assert!(home.pids("web").iter().all(|pid| !before.contains(pid)));
    http::get(port.v4(), SOON).unwrap();
    home.run(&["delete", "web"]).ok();
    home.nothing_left();
}

#[test]
fn list_and_describe_print_json_and_text() {
    let Some((home, port)) = with_web(&["-i", "2"]) else { return };
    let list = home.run(&["list", "--json"]).ok().json();
    let app = &list[0];
    for key in [
        "name",
        "status",
        "primary_pid",
        "keeper_pid",
        "generation",
        "balance",
        "engine",
        "listeners",
        "wanted",
        "ready",
        "restarts",
        "uptime_ms",
    ] {
        assert!(app.get(key).is_some(), "{key} is missing: {app:#}");
    }
    for key in [
        "slot",
        "pid",
        "generation",
        "state",
        "contract",
        "restarts",
        "uptime_ms",
        "rss_bytes",
        "cpu_percent",
        "connections",
        "accepted",
        "backlog",
        "last_exit",
    ] {
        assert!(app["workers"][1].get(key).is_some(), "workers[1].{key} is missing: {app:#}");
    }
    assert!(app["workers"][0]["rss_bytes"].as_u64().is_some_and(|rss| rss > 0), "{app:#}");
    let described = home.run(&["describe", "web", "--json"]).ok().json();
    assert_eq!(described[0]["name"], "web");
    assert!(home.run(&["list"]).ok().stdout.contains("web"));
    let text = home.run(&["describe", "web"]).ok().stdout;
    for words in ["intercept", &port.to_string(), &home.pids("web")[0].to_string()] {
        assert!(text.contains(words), "{words} is missing: {text}");
    }
    // No colour and no progress without a terminal.
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn secrets_are_shown_only_on_demand() {
    let Some((home, _port)) = with_web(&["--env", "TOKEN=hunter2"]) else { return };
    for args in [
        ["list", "--json"].as_slice(),
        &["describe", "web"],
        &["describe", "web", "--json"],
        &["env", "web"],
        &["env", "web", "--json"],
    ] {
        let outcome = home.run(args).ok();
        assert!(!(outcome.stdout + &outcome.stderr).contains("hunter2"), "{args:?} shows it");
    }
    assert!(home.run(&["env", "web"]).ok().stdout.contains("TOKEN"));
    assert!(home.run(&["env", "web", "--show"]).ok().stdout.contains("hunter2"));
    assert!(!home.log("web", "primary.log").contains("hunter2"), "the log shows it");
}

#[test]
fn max_says_which_limit_decided() {
    let Some(taskset) = fixtures::need("taskset") else { return };
    let (home, port) = (tests::home!(), Port::new());
    let Some(server) = fixtures::pid_server(&port) else { return };
    let mut command = home.command_of(taskset);
    command.args(["-c", "0"]).arg(home.binary()).args(["start", "-n", "web", "-i", "max", "--"]);
    tests::run::spawn(command.args(server), home.path()).end(SOON).ok();
    let app = home.app("web");
    assert_eq!(app.wanted, 1);
    assert!(app.wanted_because.contains("affinity"), "{}", app.wanted_because);
    assert!(home.run(&["describe", "web"]).ok().stdout.contains(&app.wanted_because));
}

#[test]
fn logs_show_and_follow_what_workers_write() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::python("chatty.py", &[port.number(), 2000]) else { return };
    home.start("web", &["-i", "2"], &command).ok();
    for (slot, kind) in [(0, "out"), (0, "err"), (1, "out"), (1, "err")] {
        let file = format!("{kind}.log");
        wait_until("every line to be in the log", SOON, || {
            let log = home.log("web", &file);
            let own = log.lines().filter(|line| line.starts_with(&slot.to_string()));
            (own.filter(|line| line.contains(&format!("{kind} 1999 "))).count() == 1).then_some(())
        });
    }
    let log = home.log("web", "out.log");
    assert_eq!(log.lines().count(), 4000, "a line is missing or torn");
    let shown = home.run(&["logs", "web", "-n", "3"]).ok().stdout;
    assert!(shown.contains("out 1999") && shown.contains("err 1999"), "{shown}");

    let follower = home.spawn(&["logs", "web", "--follow", "-n", "1"]);
    wait_until("the last line", SOON, || follower.stdout().contains("1999").then_some(()));
    assert!(!follower.stdout().contains("out 0 "));
    home.run(&["reload", "web"]).ok();
    wait_until("the lines of the new workers", SOON, || {
        follower.stdout().contains("out 0 ").then_some(())
    });
}

#[test]
fn the_foreground_prints_logs_and_stops_on_sigterm() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(server) = fixtures::python("chatty.py", &[port.number(), 3]) else { return };
    let mut args = vec!["start", "--foreground", "-n", "web", "-i", "2", "--"];
    args.extend(server.iter().map(String::as_str));
    let running = home.spawn(&args);
    wait_until("an answer", SOON, || http::get(port.v4(), SOON).ok());
    wait_until("what the workers write", SOON, || {
        (running.stdout() + &running.stderr()).contains("out 2 ").then_some(())
    });
    home.wait_app("web", "both workers", SOON, |app| app.ready == 2);
    process::kill(running.pid(), Signal::SIGTERM);
    running.end(SOON).code(0);
    home.nothing_left();
}

#[test]
fn start_gives_its_pipes_back() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(server) = fixtures::pid_server(&port) else { return };
    let mut command = home.command();
    command.args(["start", "-n", "web", "--"]).args(server);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A daemon that kept one of them would make `supervisor start | cat` hang.
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let both = out.read_to_string(&mut text).and_then(|_| err.read_to_string(&mut text));
        done.send(both.map(|_| text)).ok();
    });
    let text = ended.recv_timeout(SOON).expect("the pipes end with the command").unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
    http::get(port.v4(), SOON).unwrap();
}

#[test]
fn start_passes_on_no_descriptor_of_its_caller() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(server) = fixtures::pid_server(&port) else { return };
    let mut command = home.command_of("sh");
    command.args(["-c", "exec 9>lock; \"$0\" start -n web -- \"$@\""]).arg(home.binary());
    tests::run::spawn(command.args(server), home.path()).end(SOON).ok();
    let app = home.app("web");
    for pid in [Some(app.primary_pid), app.workers[0].pid].into_iter().flatten() {
        let fds = process::fds(pid);
        assert!(!fds.iter().any(|(_, file)| file.ends_with("/lock")), "{fds:#?}");
    }
}

#[test]
fn what_a_killed_primary_left_is_recognised() {
    let Some((home, port)) = with_web(&["-i", "2"]) else { return };
    let before = home.pids("web");
    // The app survives the death of one of them, but not of both.
    let app = home.app("web");
    process::kill(app.keeper_pid.expect("there is one"), Signal::SIGKILL);
    process::kill(app.primary_pid, Signal::SIGKILL);
    // It is listed as lost, or not at all.
    wait_until("the list to show it", SOON, || {
        home.list().iter().all(|app| app.status == Status::Lost).then_some(())
    });
    let left = home.list();
    if let [app] = left.as_slice() {
        assert!(app.reason.as_deref().is_some_and(|r| r.contains("delete")), "{app:#?}");
        home.run(&["delete", "web"]).ok();
    }
    home.nothing_left();
    let Some(command) = fixtures::pid_server(&port) else { return };
    home.start("web", &["-i", "2"], &command).ok();
    let answer = http::get(port.v4(), SOON).unwrap();
    assert!(!before.contains(&answer.pid().unwrap()), "the old workers are gone");
}

#[test]
fn signals_reach_the_right_workers() {
    let Some((home, _port)) = with_web(&["-i", "2"]) else { return };
    let before = home.pids("web");
    home.run(&["signal", "web", "KILL", "--slot", "1"]).ok();
    home.wait_app("web", "a new worker in slot 1", SOON, |app| {
        app.ready == 2 && app.workers[1].pid != Some(before[1])
    });
    assert_eq!(home.pids("web")[0], before[0]);
    home.run(&["signal", "web", "BANANA"]).code(2).says(&["banana"]);
}

#[test]
fn the_primary_understands_signals() {
    let Some((home, port)) = with_web(&["-i", "2", "--min-uptime", "100ms"]) else { return };
    let primary = home.app("web").primary_pid;
    process::kill(primary, Signal::SIGTTIN);
    home.wait_app("web", "one worker more", SOON, |app| (app.wanted, app.ready) == (3, 3));
    process::kill(primary, Signal::SIGTTOU);
    home.wait_app("web", "one worker fewer", SOON, |app| (app.wanted, app.ready) == (2, 2));
    let generation = home.app("web").generation;
    process::kill(primary, Signal::SIGHUP);
    home.wait_app("web", "a reload", SOON, |app| {
        app.generation == generation + 1 && app.status == Status::Ready
    });
    http::get(port.v4(), SOON).unwrap();
    process::kill(primary, Signal::SIGTERM);
    wait_until("the primary to end", SOON, || (!process::is_alive(primary)).then_some(()));
    home.nothing_left();
}

#[test]
fn completions_and_help_are_there() {
    let home = tests::home!();
    for shell in ["bash", "zsh", "fish"] {
        let text = home.run(&["completions", shell]).ok().stdout;
        assert!(text.contains("supervisor") && text.contains("reload"), "{shell}: {text}");
    }
    let help = home.run(&["--help"]).ok().stdout;
    assert!(help.contains("Exit codes") && help.contains("demo"), "{help}");
    home.run(&["strat"]).code(2).says(&["start"]);
    home.run(&["--version"]).ok();
    assert_eq!(home.run(&["list", "--json"]).ok().json(), serde_json::json!([]));
}

#[test]
fn bash_completes_the_names_of_apps() {
    let home = tests::home!();
    let folder = home.path().join("bin");
    std::fs::create_dir(&folder).expect("make a folder");
    std::os::unix::fs::symlink(home.binary(), folder.join("supervisor")).expect("make a link");
    home.run(&["start", "--name", "web-one", "sleep", "1000"]).ok();
    home.run(&["start", "--name", "web-two", "sleep", "1000"]).ok();
    home.run(&["start", "--name", "api", "sleep", "1000"]).ok();
    let complete = |words: &str, current: &str| {
        let script = format!(
            "PATH=$PWD/bin:$PATH; source <(supervisor completions bash); \
             COMP_WORDS=(supervisor {words} {current}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _supervisor_names supervisor '{current}' x; printf '%s ' \"${{COMPREPLY[@]}}\""
        );
        let mut command = home.command_of("bash");
        command.args(["--norc", "-c", &script]);
        tests::run::spawn(&mut command, home.path()).end(tests::home::LIMIT).ok().stdout
    };
    assert_eq!(complete("stop", "web"), "web-one web-two ");
    assert!(complete("rm", "a").contains("api "));
    assert!(!complete("apply", "web").contains("web-one"));
    assert!(complete("stop", "--f").contains("--fast"));
    home.run(&["delete", "all"]).ok();
    home.nothing_left();
}
