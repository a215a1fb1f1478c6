//! A machine that runs out of processes, files or disk. The app goes on serving and says what is
//! wrong. When there is enough again, it recovers.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use ipc::control::Status;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, chown};
use tests::wait::let_pass;
use tests::{Home, Port, fixtures, http, process, run, staging, wait_until};

const SOON: Duration = Duration::from_secs(60);
/// A user without other processes.
const LONELY: u32 = 54_322;

/// Runs a command as that user, in the same home.
fn by_lonely(home: &Home, args: &[&str]) -> run::Running {
    let program = staging::program(home.built());
    let id = LONELY.to_string();
    let mut command = home.command_of("setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).arg(program);
    run::spawn(command.args(args), home.path())
}

/// Sets a limit of a running process. `None` sets its hard limit.
fn limit(home: &Home, pid: u32, what: &str, soft: Option<usize>) {
    let soft = soft.map_or_else(|| "unlimited".to_owned(), |soft| soft.to_string());
    // As the user of that process, which is allowed to.
    let owner = fs::metadata(format!("/proc/{pid}")).expect("it lives");
    let (user, group) = (owner.uid().to_string(), owner.gid().to_string());
    let mut command = home.command_of("setpriv");
    command.args(["--reuid", &user, "--regid", &group, "--keep-groups", "prlimit"]);
    command.args(["--pid", &pid.to_string(), &format!("--{what}={soft}:")]);
    run::spawn(&mut command, home.path()).end(SOON).ok();
}

#[test]
fn no_more_processes() {
    let (home, port) = (tests::home!(), Port::new());
    if !fixtures::need_root("set these limits") {
        return;
    }
    let Some(server) = fixtures::pid_server(&port) else { return };
    chown(home.path(), Some(Uid::from_raw(LONELY)), Some(Gid::from_raw(LONELY))).expect("chown");
    let mut start = vec!["start", "-n", "web", "--"];
    start.extend(server.iter().map(String::as_str));
    by_lonely(&home, &start).end(SOON).ok();
    let before = home.app("web");
    limit(&home, before.primary_pid, "nproc", Some(1));

    let outcome = by_lonely(&home, &["scale", "web", "2"]).end(SOON).code(1);
    outcome.says(&["fork", "temporarily unavailable"]);
    assert_eq!(http::get(port.v4(), SOON).expect("an answer").pid(), before.workers[0].pid);
    by_lonely(&home, &["scale", "web", "1"]).end(SOON).ok();
    process::kill(before.workers[0].pid.expect("a worker"), Signal::SIGKILL);
    let app = home.wait_app("web", "the reason", SOON, |app| {
        app.workers[0].reason.as_deref().is_some_and(|reason| reason.contains("fork"))
    });
    assert!(matches!(app.status, Status::Degraded), "{app:#?}");

    limit(&home, before.primary_pid, "nproc", Some(10_000));
    home.wait_app("web", "a new worker", SOON, |app| app.status == Status::Ready);
    http::get(port.v4(), SOON).expect("an answer");
}

#[test]
fn no_more_files() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(server) = fixtures::pid_server(&port) else { return };
    home.start("web", &["-i", "2"], &server).ok();
    let primary = home.app("web").primary_pid;
    let last = process::fds(primary).last().map_or(0, |(number, _)| *number);
    limit(&home, primary, "nofile", Some(last as usize + 1));
    let knock = || -> Vec<UnixStream> {
        let connect = |_| UnixStream::connect(home.socket("web")).expect("a connection");
        (0..48).map(connect).collect()
    };
    // The first connections take the free numbers below the limit.
    let _first = knock();
    home.run(&["list"]).code(1).says(&["too many open files"]).one_line();
    home.run(&["reload", "web"]).code(1).says(&["too many open files"]);

    // Even the descriptor that the primary keeps in reserve is not allowed now.
    limit(&home, primary, "nofile", Some(3));
    // Connections that wait to be accepted do not keep it busy.
    let _waiting = knock();
    let ticks = || process::get(primary).expect("it lives").ticks;
    let before = ticks();
    let_pass(Duration::from_secs(1));
    assert!(ticks() - before < 20, "it spins: {} ticks in a second", ticks() - before);
    http::get(port.v4(), SOON).expect("an answer");
    let lines = home.log("web", "primary.log").lines().count();
    assert!(lines < 60, "{lines} lines in the log");

    limit(&home, primary, "nofile", Some(1000));
    wait_until("an answer", SOON, || (home.run(&["health", "web"]).code == Some(0)).then_some(()));
    home.run(&["reload", "web"]).ok();
    assert_eq!(home.app("web").status, Status::Ready);
}

/// Starts the app with one folder of its home on a file system of 64 KiB. Returns the path of that
/// folder as the primary sees it.
fn on_a_tiny_disk(home: &Home, folder: &str, server: &[String]) -> PathBuf {
    let script = "mkdir -p $SUPERVISOR_HOME/$1 && chmod 700 $SUPERVISOR_HOME/$1 \
                  && mount -t tmpfs -o size=64k,mode=700 tmpfs $SUPERVISOR_HOME/$1 \
                  && exec \"$0\" start -n web -i 2 --min-uptime 100ms -- \"${@:2}\"";
    let mut command = home.command_of("unshare");
    command.args(["--mount", "bash", "-c", script]).arg(home.binary()).arg(folder).args(server);
    run::spawn(&mut command, home.path()).end(SOON).ok();
    let below = home.path().strip_prefix("/").expect("an absolute path").join(folder);
    PathBuf::from(format!("/proc/{}/root", home.app("web").primary_pid)).join(below)
}

#[test]
fn no_room_for_logs() {
    let (home, port) = (tests::home!(), Port::new());
    if !fixtures::need_root("set these limits") {
        return;
    }
    let Some(server) = fixtures::python("chatty.py", &[port.number(), 20_000]) else { return };
    let folder = on_a_tiny_disk(&home, "logs", &server);
    let noted = |app: &ipc::control::AppStatus| {
        app.notes.iter().any(|n| n.contains("log lines were dropped"))
    };
    home.wait_app("web", "a note about it", SOON, noted);
    for round in 0..3 {
        http::get(port.v4(), SOON).expect("an answer");
        home.run(&["reload", "web"]).ok();
        assert_eq!(home.app("web").generation, round + 2);
    }
    let primary = home.app("web").primary_pid;
    // Make room.
    for file in ["out.log", "err.log"] {
        fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(folder.join("web").join(file))
            .expect("a log file");
    }
    process::kill(home.pids("web")[0], Signal::SIGKILL);
    wait_until("new lines", SOON, || {
        let logs = ["out.log", "err.log"].map(|name| folder.join("web").join(name));
        logs.iter().any(|log| fs::metadata(log).is_ok_and(|log| log.len() > 0)).then_some(())
    });
    assert_eq!(home.app("web").primary_pid, primary, "it never died");
}

#[test]
fn no_room_for_state() {
    let (home, port) = (tests::home!(), Port::new());
    if !fixtures::need_root("set these limits") {
        return;
    }
    let Some(server) = fixtures::pid_server(&port) else { return };
    let folder = on_a_tiny_disk(&home, "state", &server);
    // Fill the file system.
    drop(fs::write(folder.join("filler"), vec![0; 1 << 20]));
    home.run(&["reload", "web"]).ok();
    http::get(port.v4(), SOON).expect("an answer");
    let notes = home.app("web").notes;
    assert!(
        notes.iter().any(|note| note.contains("record") && note.contains("space")),
        "{notes:?}"
    );
    let record = fs::read_to_string(folder.join("web.json")).expect("the record");
    serde_json::from_str::<serde_json::Value>(&record).expect("the record is complete, if old");
}
