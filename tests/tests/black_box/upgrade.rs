//! Other builds, newer and older, take over again and again under load. Nothing is lost, the
//! workers and the keeper process stay. A build that cannot take over is refused with its reason.
//!
//! `UPGRADES` sets the number of upgrades (10).

use std::fs;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ipc::control::{AppStatus, Reply, Request, Status};
use nix::sys::signal::Signal;
use tests::control::{self, Control};
use tests::fixtures::Kind;
use tests::packaging::build;
use tests::staging::write_program;
use tests::{Home, Load, Port, process};

const SOON: Duration = Duration::from_secs(60);
/// Longer than the probation of a new build, which is 2 s.
const PROBATION: Duration = Duration::from_millis(2500);

fn start(home: &Home, kind: Kind, engine: &str) -> Option<Port> {
    let port = Port::new();
    let command = kind.command(home, port.number())?;
    let options = ["-i", "2", "--min-uptime", "100ms", "--observe", "100ms", "--engine", engine];
    home.start("web", &options, &command).ok();
    Some(port)
}

fn up_and_down(kind: Kind, engine: &str) {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    let Some(port) = start(&home, kind, engine) else { return };
    let builds = [build(&home, "0.9.0"), build(&home, "0.8.1")];
    let before = home.app("web");
    let workers = home.pids("web");
    let mut load = Load::new(port.v4());
    load.clients = 16;
    let load = load.start();
    load.warm(200);
    let times = tests::from_env("UPGRADES", 10);
    for count in 0..times {
        let binary = &builds[usize::from(count % 2 == 1)];
        let version = if count % 2 == 0 { "0.9.0" } else { "0.8.1" };
        let path = binary.display().to_string();
        let outcome = home.run(&["upgrade", "web", "--binary", &path]).ok();
        assert!(
            outcome.stdout.contains(&format!("supervisor {version} took over")),
            "{outcome:#?}"
        );
        let after = home.app("web");
        assert_eq!((after.version.as_str(), after.keeper_pid), (version, before.keeper_pid));
        assert_eq!((after.status, after.primary_deaths), (Status::Ready, 0));
        assert_ne!(after.primary_pid, before.primary_pid);
        assert_eq!(home.pids("web"), workers, "after {count} upgrades");
        let program =
            fs::read_link(format!("/proc/{}/exe", after.keeper_pid.expect("there is one")));
        assert_eq!(program.expect("it lives"), *binary, "the keeper runs that build, too");
    }
    let seen = load.so_far().ok;
    load.warm(seen + 200);
    load.stop().nothing_lost(&format!("{kind:?}, {engine}: {times} upgrades"));
    // After an upgrade everything works.
    process::kill(home.app("web").primary_pid, Signal::SIGKILL);
    home.run(&["reload", "web"]).ok();
    home.run(&["scale", "web", "3"]).ok();
    home.run(&["delete", "web"]).ok();
    home.nothing_left();
}

#[test]
fn heavy_python() {
    up_and_down(Kind::Python, "auto");
}

#[test]
fn heavy_node_in_the_kernel() {
    up_and_down(Kind::Node, "kernel");
}

#[test]
fn a_build_that_cannot_take_over_is_refused() {
    let home = tests::home!();
    let Some(_port) = start(&home, Kind::Python, "auto") else { return };
    let before = home.app("web");
    let refuse = |text: &str, words: &[&str]| {
        let path = home.path().join("other");
        write_program(&path, text.as_bytes());
        let path = path.display().to_string();
        let outcome = home.run(&["upgrade", "web", "--binary", &path]);
        outcome.code(1).says(words).says(&["nothing was changed"]);
    };
    let newer = "it has format 9, written by supervisor 7.0.0";
    refuse(
        &format!(
            "#!/bin/sh\ncat > /dev/null\necho 'supervisor: cannot go on from this state: {newer}' >&2\nexit 1\n"
        ),
        &["cannot take over", newer],
    );
    refuse("#!/bin/sh\nexit 0\n", &["it said nothing"]);
    refuse("#!/nowhere\n", &["cannot run"]);
    home.run(&["upgrade", "web", "--binary", "/nowhere/supervisor"]).code(1).says(&["/nowhere"]);
    let after = home.app("web");
    assert_eq!(
        (after.primary_pid, after.status, home.pids("web")),
        (before.primary_pid, Status::Ready, before.workers.iter().filter_map(|w| w.pid).collect())
    );
}

/// It says that it can take over, and then its file is gone.
#[test]
fn a_build_that_vanishes_leaves_everything_as_it_was() {
    let home = tests::home!();
    let Some(_port) = start(&home, Kind::Python, "auto") else { return };
    let (workers, version) = (home.pids("web"), home.app("web").version);
    let path = home.path().join("fleeting");
    write_program(
        &path,
        b"#!/bin/sh\ncat > /dev/null\nrm \"$0\"\necho 'can go on from this state: supervisor 9.9.9'\n",
    );
    let path = path.display().to_string();
    let outcome = home.run(&["upgrade", "web", "--binary", &path]).code(1);
    let outcome = outcome.says(&["cannot run", "nothing was changed"]);
    let app = home.app("web");
    assert_eq!((app.version, app.status), (version, Status::Ready), "{outcome:#?}");
    assert_eq!(home.pids("web"), workers);
    home.run(&["reload", "web"]).ok();
}

/// It says that it can take over, but its keeper cannot start: the previous build takes over again.
#[test]
fn heavy_a_build_whose_keeper_cannot_start_is_rolled_back() {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    let Some(port) = start(&home, Kind::Python, "auto") else { return };
    let (workers, before) = (home.pids("web"), home.app("web"));
    // It looks for its memory file under a wrong name. A compiler may keep the name in pieces of 8
    // bytes.
    let mut bytes = fs::read(home.binary()).expect("the program under test");
    let text = b"/memfd:s";
    let found = bytes.windows(text.len()).enumerate().filter(|(_, window)| window == text);
    let places: Vec<usize> = found.map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "the name is not in the binary");
    places.iter().for_each(|place| bytes[place + 1] = b'X');
    let path = home.path().join("cannot-keep");
    write_program(&path, &bytes);
    let path = path.display().to_string();

    let load = load(&port);
    let outcome = home.run_for(SOON * 2, &["upgrade", "web", "--binary", &path]);
    outcome.code(1).says(&["took over and could not go on", "nothing was changed"]);
    load.more(100);
    load.stop().nothing_lost("a build whose keeper cannot start");
    as_before(&home, &before, &workers);
}

/// It takes over, and then its primaries die one after the other.
#[test]
fn heavy_a_build_whose_primaries_die_is_rolled_back() {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    let Some(port) = start(&home, Kind::Python, "auto") else { return };
    let (workers, before) = (home.pids("web"), home.app("web"));
    let next = build(&home, "0.9.0").display().to_string();
    home.run(&["upgrade", "web", "--binary", &next]).ok();
    let load = load(&port);
    tests::wait::wait_until("the previous build", SOON, || {
        let children = format!("/proc/{0}/task/{0}/children", before.keeper_pid?);
        let children = fs::read_to_string(children).ok()?;
        let pids = children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
        let primary = pids.filter_map(process::get).find(|one| one.name == "sup:web")?;
        let program = fs::read_link(format!("/proc/{}/exe", primary.pid)).ok()?;
        if program.display().to_string() == next {
            process::kill(primary.pid, Signal::SIGKILL);
            return None;
        }
        Some(())
    });
    home.wait_app("web", "to be as before", SOON, |app| app.version == before.version);
    load.more(100);
    load.stop().nothing_lost("a build whose primaries die");
    let log = home.log("web", "primary.log");
    assert!(log.contains("the build that had taken over could not go on"), "{log}");
    as_before(&home, &before, &workers);
}

/// After its probation a build stays, even if its primaries die.
#[test]
fn heavy_a_build_stays_after_its_probation() {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    let Some(port) = start(&home, Kind::Python, "auto") else { return };
    let workers = home.pids("web");
    let next = build(&home, "0.9.0").display().to_string();
    home.run(&["upgrade", "web", "--binary", &next]).ok();
    let load = load(&port);
    tests::wait::let_pass(PROBATION);
    for _ in 0..7 {
        let primary = home.app("web").primary_pid;
        process::kill(primary, Signal::SIGKILL);
        home.wait_app("web", "to have another primary", SOON, |app| {
            app.primary_pid != primary && app.status == Status::Ready
        });
    }
    assert_eq!(home.app("web").version, "0.9.0");
    assert_eq!(home.pids("web"), workers);
    load.more(100);
    load.stop().nothing_lost("a build that stays");
}

fn load(port: &Port) -> tests::client::Running {
    let mut load = Load::new(port.v4());
    load.clients = 8;
    let load = load.start();
    load.warm(100);
    load
}

/// The build from before runs again, everything works, and it can be upgraded again.
fn as_before(home: &Home, before: &AppStatus, workers: &[u32]) {
    let after = home.app("web");
    assert_eq!((after.keeper_pid, after.status), (before.keeper_pid, Status::Ready));
    assert_eq!((after.version, home.pids("web").as_slice()), (before.version.clone(), workers));
    home.run(&["reload", "web"]).ok();
    let good = build(home, "0.8.1").display().to_string();
    home.run(&["upgrade", "web", "--binary", &good]).ok();
    assert_eq!(home.app("web").version, "0.8.1");
    home.run(&["delete", "web"]).ok();
    home.nothing_left();
}

/// The file is replaced as a package manager does it, and a signal starts the upgrade.
#[test]
fn a_signal_is_enough() {
    let home = tests::home!();
    let port = Port::new();
    let Some(command) = Kind::Python.command(&home, port.number()) else { return };
    let own = home.path().join("own-supervisor");
    write_program(&own, &fs::read(home.binary()).expect("the program under test"));
    let mut start = home.command_of(&own);
    start.args(["start", "--name", "web", "-i", "2", "--"]).args(&command);
    assert!(start.status().expect("it runs").success());
    let workers = home.pids("web");
    let next = build(&home, "0.9.0");
    fs::rename(next, &own).expect("replace a program");
    let socket = home.socket("web");
    let silent = UnixStream::connect(&socket).expect("connect to the primary");
    // A client at every moment: each of them is answered by one of the two builds.
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    control::status(&socket);
                }
            });
        }
        process::kill(home.app("web").keeper_pid.expect("there is one"), Signal::SIGUSR2);
        home.wait_app("web", "the other build", SOON, |app| app.version == "0.9.0");
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(home.pids("web"), workers);
    let answer = Control::over(silent, &Request::Status).answer(SOON);
    assert!(matches!(answer, Reply::Status(_)), "who had not asked yet may ask: {answer:?}");
}
