//! What other users of the machine, full disks and removed folders can do to an app.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ipc::control::Status;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tests::run::{self, Outcome, Running};
use tests::{Home, Port, fixtures, http, process, staging, wait_until};

const SOON: Duration = Duration::from_secs(30);
const NOBODY: &str = "65534";
/// A group without members and files on this machine.
const OBSERVERS: &str = "70002";
/// Users without processes and files on this machine, each for one test.
const WANDERER: u32 = 70_123;
const VICTIM: u32 = 70_124;
const SQUATTER: u32 = 70_125;
const CROWDED: u32 = 70_126;

/// An app `web` with two workers.
fn with_web(lines: &str) -> Option<(Home, Port)> {
    let (home, port) = (tests::home!(), Port::new());
    let file = home.config("web", &fixtures::pid_server(&port)?, lines);
    home.run(&["start", &file, "-i", "2"]).ok();
    Some((home, port))
}

/// A home that other users can enter. `None`, and a line on stderr, without root.
fn home_of_root() -> Option<Home> {
    if !fixtures::need_root("act as another user") {
        return None;
    }
    let home = tests::home!();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("chmod the home");
    Some(home)
}

/// A program run by another user with this supplementary group.
fn as_user(home: &Home, user: &str, group: &str, program: &Path) -> Command {
    let setpriv = fixtures::need("setpriv").expect("util-linux has it");
    let mut command = home.command_of(setpriv);
    let groups = format!("--groups={group}");
    command.args(["--reuid", user, "--regid", user, &groups, "--"]).arg(program);
    command
}

/// A command of the supervisor by a user who has no SUPERVISOR_HOME.
fn homeless(home: &Home, user: u32, runtime_dir: Option<&Path>, args: &[&str]) -> Outcome {
    let program = staging::program(home.built());
    let mut command = as_user(home, &user.to_string(), &user.to_string(), &program);
    command.env_remove("SUPERVISOR_HOME").env("HOME", home.path().join("user")).args(args);
    if let Some(folder) = runtime_dir {
        command.env("XDG_RUNTIME_DIR", folder);
    }
    run::spawn(&mut command, home.path()).end(SOON)
}

/// A folder of this user.
fn folder_of(path: &Path, user: u32) {
    fs::create_dir_all(path).expect("make a folder");
    chown(path, Some(user), Some(user)).expect("chown a folder");
}

/// Removes a folder in the shared temporary folder when the test ends.
struct Squat(PathBuf);

impl Squat {
    fn of(user: u32) -> Self {
        let path = PathBuf::from(format!("/tmp/supervisor-{user}"));
        drop(fs::remove_dir_all(&path));
        Self(path)
    }
}

impl Drop for Squat {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// As logind does it at the last logout and the next login.
#[test]
fn a_run_folder_that_is_removed_and_made_again_loses_no_app() {
    let Some((home, port)) = with_web("") else { return };
    let (primary, workers) = (home.app("web").primary_pid, home.pids("web"));
    let run = home.socket("web").parent().expect("a folder").to_owned();
    fs::remove_dir_all(&run).expect("remove the run folder");
    fs::create_dir(&run).expect("make the run folder again");
    let listed = home.list();
    assert_eq!((listed.len(), listed[0].status), (1, Status::Ready), "{listed:#?}");
    assert_eq!((listed[0].primary_pid, home.pids("web")), (primary, workers));
    http::get(port.v4(), SOON).expect("an answer");
    let deleted = home.run(&["delete", "web"]).ok();
    assert!(!deleted.stdout.contains("without a primary"), "{deleted:#?}");
    wait_until("the primary to end", SOON, || (!process::is_alive(primary)).then_some(()));
    home.nothing_left();
}

#[test]
fn an_app_whose_home_is_removed_is_found_again() {
    let Some((home, _port)) = with_web("") else { return };
    let primary = home.app("web").primary_pid;
    for folder in ["run", "state", "logs"] {
        fs::remove_dir_all(home.path().join(folder)).expect("remove a folder");
    }
    let listed = wait_until("the app to be listed", SOON, || {
        let listed = home.list();
        (!listed.is_empty()).then_some(listed)
    });
    assert_eq!((listed[0].primary_pid, listed[0].status), (primary, Status::Ready));
    home.run(&["restart", "web"]).ok();
    assert!(home.log("web", "out.log").is_empty(), "there is a new log file, and it is empty");
    home.run(&["delete", "web"]).ok();
    home.nothing_left();
}

#[test]
fn an_app_is_found_from_a_session_without_its_runtime_folder() {
    let Some(home) = home_of_root() else { return };
    let (runtime, _squat) = (home.path().join("runtime"), Squat::of(WANDERER));
    [&runtime, &home.path().join("user")].into_iter().for_each(|path| folder_of(path, WANDERER));
    let Some(server) = fixtures::pid_server(Port::new()) else { return };
    let mut start = vec!["start", "-n", "web", "--"];
    start.extend(server.iter().map(String::as_str));
    homeless(&home, WANDERER, Some(&runtime), &start).ok();
    let listed = homeless(&home, WANDERER, None, &["list", "--json"]).ok().json();
    assert_eq!((&listed[0]["name"], &listed[0]["status"]), (&"web".into(), &"ready".into()));
    homeless(&home, WANDERER, None, &start).code(1).says(&["running already"]);
    homeless(&home, WANDERER, None, &["delete", "web"]).ok();
    let listed = homeless(&home, WANDERER, Some(&runtime), &["list", "--json"]).ok().json();
    assert_eq!(listed, serde_json::json!([]));
}

#[test]
fn a_folder_of_another_user_at_our_place_is_refused() {
    let Some(home) = home_of_root() else { return };
    let squat = Squat::of(VICTIM);
    folder_of(&home.path().join("user"), VICTIM);
    folder_of(&squat.0, SQUATTER);
    for args in [["start", "-n", "web", "--", "sleep", "1000"].as_slice(), &["list"]] {
        let refused = homeless(&home, VICTIM, None, args).code(6);
        let path = squat.0.display().to_string();
        refused.says(&["cannot be trusted", &path, "it belongs to user 70125"]);
    }
}

/// Holds many connections to the control socket and sends nothing.
const HOLD_CONNECTIONS: &str = "
import socket, sys, time
held = []
for _ in range(200):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(0.2)
    try:
        s.connect(sys.argv[1])
    except OSError:
        break
    held.append(s)
print(len(held), flush=True)
time.sleep(1000)
";

fn python(home: &Home, user: &str, group: &str, script: &str, args: &[&str]) -> Option<Running> {
    let python = PathBuf::from(fixtures::need("python3")?);
    let mut command = as_user(home, user, group, &python);
    Some(run::spawn(command.args(["-c", script]).args(args), home.path()))
}

#[test]
fn idle_observers_shut_nobody_out() {
    let (Some(home), port) = (home_of_root(), Port::new()) else { return };
    let Some(server) = fixtures::pid_server(&port) else { return };
    let file = home.config("web", &server, &format!("observers = {OBSERVERS}\n"));
    home.run(&["start", &file]).ok();
    let socket = home.socket("web").display().to_string();
    let Some(idle) = python(&home, NOBODY, OBSERVERS, HOLD_CONNECTIONS, &[&socket]) else { return };
    wait_until("the connections", SOON, || (!idle.stdout().is_empty()).then_some(()));
    home.run(&["health", "web"]).ok();
    home.run(&["reload", "web"]).ok();
    // Another observer is told the truth, or is answered once the idle ones are thrown out.
    let program = staging::program(home.built());
    let mut list = as_user(&home, "65533", OBSERVERS, &program);
    run::spawn(list.args(["list", "--json"]), home.path()).end(SOON).ok();
    home.run(&["stop", "web"]).ok();
    let mut events = as_user(&home, NOBODY, NOBODY, &program);
    run::spawn(events.arg("events").arg("web"), home.path()).end(SOON).code(6);
}

/// Sends nonsense to a NOTIFY_SOCKET.
const FLOOD: &str = "
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = sys.argv[1]
for _ in range(20000):
    try:
        s.sendto(b'STATUS=x', '\\0' + name[1:] if name[0] == '@' else name)
    except OSError as error:
        print(error)
        break
print('sent', flush=True)
";

fn environment(pid: u32, name: &str) -> String {
    let all = fs::read(format!("/proc/{pid}/environ")).expect("the worker lives");
    let all = String::from_utf8_lossy(&all).into_owned();
    let found = all.split('\0').find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name} in {all}")).to_owned()
}

#[test]
fn notifications_of_strangers_fill_no_log() {
    let (Some(home), port) = (home_of_root(), Port::new()) else { return };
    let Some(server) = fixtures::pid_server(&port) else { return };
    home.start("web", &[], &server).ok();
    let address = environment(home.pids("web")[0], "NOTIFY_SOCKET");
    let before = home.log("web", "primary.log").len();
    let Some(flood) = python(&home, NOBODY, NOBODY, FLOOD, &[&address]) else { return };
    wait_until("the flood", SOON, || flood.stdout().contains("sent").then_some(()));
    home.app("web");
    let log = home.log("web", "primary.log");
    assert!(log.len() < before + 2000, "the log grew to {} bytes: {log}", log.len());
    assert!(home.app("web").notes.len() < 3, "{:#?}", home.app("web").notes);
}

#[test]
fn log_paths_that_are_fifos_block_nobody() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(server) = fixtures::pid_server(&port) else { return };
    let logs = home.path().join("logs/web");
    fs::create_dir_all(&logs).expect("make the folder of the logs");
    for file in ["out.log", "err.log"] {
        mkfifo(&logs.join(file), Mode::from_bits_truncate(0o600)).expect("make a fifo");
    }
    home.start("web", &[], &server).ok();
    let notes = home.app("web").notes.join("\n");
    assert!(notes.contains("out.log") && notes.contains("fifo"), "{notes}");
    process::kill(home.app("web").primary_pid, nix::sys::signal::Signal::SIGKILL);
    home.wait_app("web", "a successor", SOON, |app| app.status == Status::Ready);
    http::get(port.v4(), SOON).expect("an answer");
    home.run(&["logs", "--reopen", "web"]).code(1).says(&["fifo"]);
    // A fifo that takes what it can, and a primary that waits for nobody.
    let (_reader, _writer) = (
        fs::File::options().read(true).write(true).open(logs.join("out.log")).expect("open it"),
        fs::File::options().read(true).write(true).open(logs.join("err.log")).expect("open it"),
    );
    for _ in 0..3 {
        http::get(port.v4(), SOON).expect("an answer");
    }
    home.run(&["delete", "web"]).ok();
}

#[test]
fn a_worker_of_another_user_gets_no_low_port_unasked() {
    let (Some(home), address) = (home_of_root(), "127.66.0.2:82") else { return };
    let Some(mut server) = fixtures::pid_server(82) else { return };
    server.extend(["--bind", "127.66.0.2"].map(str::to_owned));
    home.start("web", &["--user", "nobody", "--ready-timeout", "3s"], &server)
        .code(1)
        .says(&["82", "nobody", "ports"]);
    home.start("web", &["--user", "nobody", "--ports", "82"], &server).ok();
    http::get(address.parse().expect("an address"), SOON).expect("an answer");
    home.run(&["delete", "web"]).ok();
    home.start("web", &["--user", "nobody", "--listen", address], &server).ok();
    http::get(address.parse().expect("an address"), SOON).expect("an answer");
    home.run(&["delete", "web"]).ok();
    let Some(node) = fixtures::need("node") else { return };
    let script = "require('http').createServer((q, r) => r.end('x')).listen(82, '127.66.0.2')";
    home.start("node", &["--user", "nobody", "--ready-timeout", "5s"], &[&node, "-e", script])
        .code(1)
        .says(&["82", "nobody", "ports"]);
}

/// Serves the port of its argument, and binds many addresses, one after the other.
const BINDS_MANY: &str = "
import http.server, socket, sys
address = ('127.0.0.1', int(sys.argv[1]))
server = http.server.ThreadingHTTPServer(address, http.server.SimpleHTTPRequestHandler)
for port in range(20000, 20300):
    s = socket.socket()
    try:
        s.bind(('127.66.0.3', port))
    except OSError:
        pass
    s.close()
server.serve_forever()
";

#[test]
fn binds_without_end_do_not_exhaust_the_primary() {
    let (home, port) = (tests::home!(), Port::new());
    let (Some(python), Some(prlimit)) = (fixtures::need("python3"), fixtures::need("prlimit"))
    else {
        return;
    };
    let mut command = home.command_of(prlimit);
    command.args(["--nofile=300:300", "--"]).arg(home.binary());
    command.args(["start", "-n", "web", "--"]);
    command.args([&python, "-c", BINDS_MANY, &port.number().to_string()]);
    run::spawn(&mut command, home.path()).end(SOON).ok();
    http::get(port.v4(), SOON).expect("an answer");
    assert!(home.app("web").listeners.len() < 40, "{}", home.app("web").listeners.len());
    home.run(&["restart", "web"]).ok();
    http::get(port.v4(), SOON).expect("an answer");
    home.run(&["delete", "web"]).ok();
}

#[test]
fn no_panic_without_processes() {
    let Some(home) = home_of_root() else { return };
    let Some(prlimit) = fixtures::need("prlimit") else { return };
    folder_of(&home.path().join("user"), CROWDED);
    let program = staging::program(home.built());
    let user = CROWDED.to_string();
    let run = |limit: u32, arguments: &[&str]| {
        let mut command = as_user(&home, &user, &user, Path::new(&prlimit));
        command.env("SUPERVISOR_HOME", home.path().join("user"));
        command.arg(format!("--nproc={limit}")).arg(&program).args(arguments);
        let outcome = run::spawn(&mut command, home.path()).end(SOON);
        assert!(!outcome.stderr.contains("panicked"), "{outcome:#?}");
        outcome
    };
    for limit in [1, 2, 3, 4] {
        let refused = run(limit, &["start", "-n", "web", "--", "sleep", "1000"]).code(1);
        refused.says(&["cannot start the primary"]);
    }
    run(1000, &["start", "-n", "web", "--", "sleep", "1000"]).ok();
    // The keeper, the primary and the worker are three; each of these is one more.
    for arguments in [&["list"][..], &["describe", "web"], &["reload", "web"]] {
        run(4, arguments);
    }
    run(4, &["delete", "web", "--fast"]).ok();
    let log = home.log("web", "primary.log");
    assert!(!log.contains("panicked"), "{log}");
}
