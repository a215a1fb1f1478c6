//! The conditions of a container: PID 1 of a pid namespace, a read-only root, no home, a user that
//! no database knows, output as JSON, probes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ipc::control::Contract;
use nix::sys::signal::Signal;
use tests::fixtures::Kind;
use tests::run::{self, Outcome, Running};
use tests::wait::try_until;
use tests::{Home, Load, Port, fixtures, http, process, staging, wait_until};

const SOON: Duration = Duration::from_secs(60);
/// A user that no database knows.
const UNKNOWN: &str = "54321";

/// A program that runs as PID 1 of its own pid namespace.
struct First {
    unshare: Running,
    pid: u32,
}

/// Whether namespaces can be created; if not, a line on stderr says so.
fn can_isolate() -> bool {
    fixtures::need_root("make namespaces") && fixtures::need("unshare").is_some()
}

impl First {
    /// Runs `supervisor start --foreground --name web OPTIONS -- COMMAND` as PID 1.
    fn start(home: &Home, options: &[&str], command: &[String]) -> Self {
        let mut unshare = home.command_of("unshare");
        unshare.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(home.binary());
        unshare.args(["start", "--foreground", "--name", "web"]).args(options).arg("--");
        Self::spawn(home, unshare.args(command))
    }

    fn spawn(home: &Home, command: &mut Command) -> Self {
        let unshare = run::spawn(command, home.path());
        let parent = unshare.pid();
        let pid = wait_until("the first process", SOON, || process::child_of(parent));
        Self { unshare, pid }
    }

    /// Stops it as a container runtime does.
    fn stop(self) -> Outcome {
        process::kill(self.pid, Signal::SIGTERM);
        self.unshare.end(SOON)
    }
}

#[test]
fn heavy_pid_1_reaps_orphans_and_ends_with_code_0() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    if !can_isolate() {
        return;
    }
    let Some(server) = fixtures::python("orphans.py", &[1000, port.number().into()]) else {
        return;
    };
    let first = First::start(&home, &["-i", "1", "--listen-wait", "60s"], &server);
    wait_until("an answer", SOON, || http::get(port.v4(), SOON).ok());
    assert!(home.log("web", "out.log").contains("orphaned 1000"));
    let mut zombies = Vec::new();
    let reaped = try_until(SOON, || {
        zombies = process::all();
        zombies.retain(|one| one.state == 'Z' && one.parent == first.pid);
        zombies.is_empty().then_some(())
    });
    assert!(reaped.is_some(), "{} zombies are left: {:#?}", zombies.len(), zombies.first());
    // It still sees how a worker ends.
    let is_worker =
        |one: &process::Process| one.parent == first.pid && !one.name.starts_with("sup:");
    let worker = process::all().into_iter().find(is_worker).expect("a worker");
    process::kill(worker.pid, Signal::SIGKILL);
    wait_until("its replacement to serve", SOON, || {
        process::all().into_iter().find(|one| is_worker(one) && one.pid != worker.pid)?;
        http::get(port.v4(), SOON).ok()
    });
    assert!(home.log("web", "primary.log").is_empty(), "the foreground writes to stderr");
    assert!(first.unshare.stderr().contains("signal SIGKILL"), "{}", first.unshare.stderr());
    first.stop().ok();
}

#[test]
fn an_app_that_is_given_up_is_exit_code_1() {
    let home = tests::home!();
    if !can_isolate() {
        return;
    }
    let Some(server) = fixtures::python::<&str>("exits.py", &[]) else { return };
    let options = ["--log-format", "json"];
    let outcome = First::start(&home, &options, &server).unshare.end(SOON).code(1);
    assert!(outcome.stderr.contains("cannot find the database"), "{outcome:#?}");
}

#[test]
fn output_as_json() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(server) = fixtures::python("chatty.py", &[port.number(), 3]) else { return };
    let mut args = vec!["start", "--foreground", "--log-format", "json", "-n", "web", "--"];
    args.extend(server.iter().map(String::as_str));
    let running = home.spawn(&args);
    wait_until("what the worker writes", SOON, || {
        let both = running.stdout().contains("out 2 ") && running.stderr().contains("err 2 ");
        (both && home.app("web").ready == 1).then_some(())
    });
    process::kill(running.pid(), Signal::SIGTERM);
    let outcome = running.end(SOON).ok();
    let lines = |text: &str| -> Vec<serde_json::Value> {
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    };
    let (out, err) = (lines(&outcome.stdout), lines(&outcome.stderr));
    let said =
        out.iter().find(|line| line["message"].as_str().is_some_and(|m| m.contains("out 1")));
    let said = said.expect("the worker's line");
    assert_eq!(
        (&said["app"], &said["stream"], &said["slot"]),
        (&"web".into(), &"stdout".into(), &0.into())
    );
    assert!(said["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{said}");
    assert!(err.iter().any(|line| line["stream"] == "stderr"));
    let ready =
        err.iter().find(|line| line["event"] == "worker-ready").expect("a line of the supervisor");
    assert_eq!((&ready["stream"], &ready["slot"]), (&"supervisor".into(), &0.into()));
    assert!(ready["pid"].is_number(), "{ready}");
    home.run(&["start", "--log-format", "json", "--", "true"]).code(2).says(&["--foreground"]);
}

#[test]
fn health_tells_whether_the_app_serves() {
    let (home, port) = (tests::home!(), Port::new());
    home.run(&["health"]).code(3).one_line();
    home.run(&["health", "web"]).code(3).one_line();
    let Some(server) = fixtures::pid_server(&port) else { return };
    home.start("web", &["-i", "2"], &server).ok();
    for args in [["health", "web"].as_slice(), &["health", "--ready", "web"], &["health"]] {
        let outcome = home.run(args).ok();
        assert_eq!(outcome.stdout, "web: 2 of 2 workers ready\n");
    }
    let primary = home.app("web").primary_pid;
    process::kill(primary, Signal::SIGSTOP);
    let outcome = home.run(&["health", "web"]).code(1).says(&["did not answer"]).one_line();
    assert!(outcome.took < Duration::from_secs(10), "{outcome:?}");
    process::kill(primary, Signal::SIGCONT);
    home.run(&["stop", "web"]).ok();
    home.run(&["health", "web"]).code(1).says(&["not healthy", "stopped"]).one_line();

    let Some(broken) = fixtures::python::<&str>("exits.py", &[]) else { return };
    home.start("broken", &[], &broken).code(1);
    home.run(&["health", "broken"]).code(1).says(&["errored", "exit"]).one_line();
}

/// Runs a program that can write to /dev/shm only, as a user without a home and a name.
fn sealed(home: &Home, program: &Path, arguments: &[&str]) -> Command {
    let script = "mount -o remount,bind,ro / && mount -t tmpfs tmpfs /dev/shm && chmod 1777 /dev/shm \
                  && exec setpriv --reuid 54321 --regid 54321 --clear-groups -- \
                  env -i PATH=\"$PATH\" SUPERVISOR_TEST_HOME=\"$1\" \"${@:2}\"";
    let mut command = home.command_of("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--mount", "--kill-child", "--"]);
    command.args(["bash", "-c", script, "sealed"]).arg(home.path()).arg(program).args(arguments);
    command
}

#[test]
fn a_read_only_root_without_a_home() {
    let (home, port) = (tests::home!(), Port::new());
    if !can_isolate() {
        return;
    }
    let Some(server) = fixtures::pid_server(&port) else { return };
    let program: PathBuf = staging::program(home.built());
    let mut arguments =
        vec!["start", "--foreground", "--name", "web", "-i", "2", "--cwd", "/", "--"];
    arguments.extend(server.iter().map(String::as_str));
    let first = First::spawn(&home, &mut sealed(&home, &program, &arguments));
    wait_until("an answer", SOON, || http::get(port.v4(), SOON).ok());
    // A probe as Kubernetes runs it: inside, as the same user.
    let inside = |arguments: &[&str]| {
        let mut command = home.command_of("nsenter");
        let pid = first.pid.to_string();
        command.args(["--target", &pid, "--mount", "--pid", "--"]).args(["setpriv", "--reuid"]);
        command.args([UNKNOWN, "--regid", UNKNOWN, "--clear-groups", "--", "env", "-i"]);
        run::spawn(command.arg(&program).args(arguments), home.path()).end(SOON)
    };
    wait_until("both workers", SOON, || {
        (inside(&["health", "--ready"]).code == Some(0)).then_some(())
    });
    let app = &inside(&["list", "--json"]).ok().json()[0];
    let notes = app["notes"].to_string();
    assert!(notes.contains("cannot write the log files"), "{notes}");
    assert!(!notes.contains("record"), "it does not find a folder for its record: {notes}");
    inside(&["reload", "web"]).ok();
    http::get(port.v4(), SOON).expect("an answer");
    first.stop().ok();
}

/// The seccomp rules of Docker and containerd do not allow a process to copy a socket of another.
#[test]
fn heavy_interception_under_the_rules_of_a_container_runtime() {
    let _exclusive = tests::exclusive();
    for home in [Some(tests::home!()), tests::home_of_nobody!()].into_iter().flatten() {
        for kind in [Kind::Python, Kind::Go, Kind::Java] {
            let port = Port::new();
            let Some(server) = kind.command(&home, port.number()) else { continue };
            let Some(forbidden) = fixtures::python("forbidden.py", &[home.binary().display()])
            else {
                return;
            };
            let mut command = home.command_of(&forbidden[0]);
            command.args(&forbidden[1..]).args(["start", "-n", "web", "-i", "2"]);
            command.args(["--min-uptime", "100ms", "--"]);
            run::spawn(command.args(&server), home.path()).end(SOON).ok();
            let app = home.app("web");
            assert!(
                app.workers.iter().all(|w| w.contract.contains(&Contract::Intercept)),
                "{app:#?}"
            );
            let mut load = Load::new(port.v4());
            (load.clients, load.requests) = (8, 400);
            let tally = load.run().nothing_lost(&format!("{kind:?}"));
            assert_eq!(tally.by_pid.len(), 2, "answers from two processes: {tally}");
            home.run(&["reload", "web"]).ok();
            http::get(port.v4(), SOON).expect("an answer");
            home.run(&["delete", "web"]).ok();
        }
    }
}

#[test]
fn max_is_what_the_quota_allows() {
    let home = tests::home!();
    let Some(group) = Group::of_half_a_cpu() else { return };
    let script = format!(
        "echo $$ > {}/cgroup.procs && exec \"$0\" start -n web -i max --listen-wait 100ms -- sleep 1000",
        group.0.display()
    );
    let mut command = home.command_of("sh");
    command.args(["-c", &script]).arg(home.binary());
    run::spawn(&mut command, home.path()).end(SOON).ok();
    let app = home.app("web");
    assert_eq!(app.wanted, 1);
    assert!(app.wanted_because.contains("cgroup quota 0.5"), "{}", app.wanted_because);
    home.run(&["delete", "web", "--fast"]).ok();
}

/// A control group of this test.
struct Group(PathBuf);

impl Group {
    /// Creates a group with half a CPU. `None`, and a line on stderr, if that is not possible.
    fn of_half_a_cpu() -> Option<Self> {
        let name = format!("supervisor-test-{}", std::process::id());
        for (top, file, quota) in [
            ("/sys/fs/cgroup", "cpu.max", "50000 100000"),
            ("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "50000"),
            ("/sys/fs/cgroup/cpu,cpuacct", "cpu.cfs_quota_us", "50000"),
        ] {
            let folder = Path::new(top).join(&name);
            if std::fs::create_dir(&folder).is_err() {
                continue;
            }
            let group = Self(folder);
            // The open does not create the file: if it is missing, this is another hierarchy.
            let file = std::fs::OpenOptions::new().write(true).open(group.0.join(file));
            if file.is_ok_and(|mut file| file.write_all(quota.as_bytes()).is_ok()) {
                return Some(group);
            }
        }
        eprintln!("SKIPPED: no control group with a CPU quota can be made here");
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // This works once the last process in it is gone.
        try_until(SOON, || std::fs::remove_dir(&self.0).ok());
    }
}
