//! Apps in the foreground of a terminal that is closed.

use std::time::Duration;

use ipc::control::{NoticeKind, Request, Status};
use nix::sys::signal::Signal;
use tests::run::{self, Running};
use tests::wait::let_pass;
use tests::{Home, Port, fixtures, http, process, wait_until};

const SOON: Duration = Duration::from_secs(30);

/// Is a terminal: runs a program on it, types a line if there is one, and reads what is shown. The
/// terminal is closed when this process is killed, or a moment after SIGTERM.
const TERMINAL: &str = r#"
import os, pty, signal, sys, time
def close(*_):
    # As tmux does it: the signal first, and then the end.
    os.killpg(os.tcgetpgrp(terminal), signal.SIGHUP)
    time.sleep(0.05)
    os._exit(0)
signal.signal(signal.SIGTERM, close)
line, program = sys.argv[1], sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(program[0], program)
if line:
    os.write(terminal, line.encode() + b"\n")
while True:
    os.read(terminal, 4096)
"#;

/// Runs `program` on a terminal and types `line`.
fn on_terminal(home: &Home, line: &str, program: &[&str]) -> Option<Running> {
    let python = fixtures::need("python3")?;
    let mut command = home.command_of(python);
    command.args(["-c", TERMINAL, line]).args(program);
    Some(run::spawn(&mut command, home.path()))
}

/// The words that start the app in the foreground.
fn words(home: &Home, port: &Port) -> Option<Vec<String>> {
    let program = home.binary().to_string_lossy().into_owned();
    let start = ["start", "--foreground", "-n", "web", "-i", "2", "--"].map(str::to_owned);
    Some([vec![program], start.into(), fixtures::pid_server(port)?].concat())
}

/// A terminal on which the app leads the session.
fn without_shell(home: &Home, port: &Port) -> Option<Running> {
    let words = words(home, port)?;
    on_terminal(home, "", &words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A terminal with a shell, into which the command is typed between `before` and `after`.
fn with_shell(home: &Home, port: &Port, before: &str, after: &str) -> Option<Running> {
    let quoted: Vec<String> = words(home, port)?.iter().map(|word| format!("'{word}'")).collect();
    let shell = fixtures::need("bash")?;
    let line = format!("{before} {} {after}", quoted.join(" "));
    on_terminal(home, &line, &[&shell, "--norc", "-i"])
}

fn ready(home: &Home) -> u32 {
    wait_until("the app to be ready", SOON, || {
        let listed = home.list();
        let app = listed.first().filter(|app| app.status == Status::Ready)?;
        Some(app.primary_pid)
    })
}

#[test]
fn the_app_stops_when_the_terminal_of_its_session_is_closed() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(terminal) = without_shell(&home, &port) else { return };
    let primary = ready(&home);
    // As long as there is a terminal, SIGHUP is the reload that it is for every server.
    process::kill(primary, Signal::SIGHUP);
    wait_until("the reload", SOON, || (home.app("web").generation == 2).then_some(()));
    ready(&home);
    process::kill(terminal.pid(), Signal::SIGKILL);
    wait_until("the app to end", SOON, || (!process::is_alive(primary)).then_some(()));
    assert!(http::get(port.v4(), Duration::from_secs(1)).is_err(), "the port still answers");
    home.nothing_left();
}

#[test]
fn the_app_stops_when_the_terminal_of_its_shell_is_closed() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(terminal) = with_shell(&home, &port, "", "") else { return };
    let primary = ready(&home);
    process::kill(terminal.pid(), Signal::SIGKILL);
    wait_until("the app to end", SOON, || (!process::is_alive(primary)).then_some(()));
    home.nothing_left();
}

#[test]
fn an_app_under_nohup_outlives_its_terminal() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let (home, port) = (tests::home!(), Port::new());
        let Some(terminal) = with_shell(&home, &port, "nohup", "> nohup.out 2>&1") else { return };
        let primary = ready(&home);
        process::kill(terminal.pid(), signal);
        wait_until("the terminal to end", SOON, || {
            (!process::is_alive(terminal.pid())).then_some(())
        });
        // The end of the terminal is decided upon by then.
        let_pass(Duration::from_secs(1));
        home.run(&["reload", "web"]).ok();
        http::get(port.v4(), SOON).expect("an answer");
        let app = home.app("web");
        assert_eq!((app.generation, app.primary_pid), (2, primary), "only the reload by hand");
        home.run(&["delete", "web"]).ok();
    }
}

#[test]
fn a_signal_just_before_the_end_of_the_terminal_is_no_reload() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(terminal) = without_shell(&home, &port) else { return };
    let primary = ready(&home);
    let mut notices = home.ask("web", &Request::Subscribe);
    process::kill(terminal.pid(), Signal::SIGTERM);
    let stops = notices.notice_of(NoticeKind::AppStatus, SOON);
    assert!(stops.message.contains("is stopping"), "{stops:?}");
    wait_until("the app to end", SOON, || (!process::is_alive(primary)).then_some(()));
    home.nothing_left();
}
