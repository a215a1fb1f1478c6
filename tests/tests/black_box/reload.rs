//! The loss matrix. A server that dies at once on SIGTERM (Python), Node in both engines, Go, Rust
//! and the demo serve 32 clients, with new connections and with keep-alive, through 30 reloads, 20
//! kills of drained workers, and scaling 2→4→1→3. Nothing may be lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ipc::control::{NoticeKind, Request, Status};
use nix::sys::signal::Signal;
use tests::fixtures::{self, Kind};
use tests::{Home, Load, Mode, Port, process};

const RELOADS: u32 = 30;
const KILLS: u64 = 20;
const KEEP_ALIVE: Mode = Mode::KeepAlive { requests_per_connection: 40 };

/// Kills drained workers, at the moment when they are told to stop.
struct Killer {
    enough: Arc<AtomicBool>,
    killed: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Killer {
    fn new(home: &Home, name: &str) -> Self {
        let mut notices = home.ask(name, &Request::Subscribe);
        let (enough, killed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop, count) = (Arc::clone(&enough), Arc::clone(&killed));
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let Some(notice) = notices.notice(Duration::from_millis(100)) else { continue };
                if notice.event == NoticeKind::WorkerStopping
                    && let Some(pid) = notice.pid
                {
                    process::kill(pid, Signal::SIGKILL);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { enough, killed, thread }
    }

    /// Waits for the last kills and returns their number.
    fn end(self) -> u64 {
        tests::wait::try_until(Duration::from_secs(10), || {
            (self.killed.load(Ordering::Relaxed) >= KILLS).then_some(())
        });
        self.enough.store(true, Ordering::Relaxed);
        self.thread.join().expect("the killer does not panic");
        self.killed.load(Ordering::Relaxed)
    }
}

/// One cell of the matrix. The app runs with two workers.
fn nothing_is_lost(what: &str, home: &Home, name: &str, address: SocketAddr, mode: Mode) {
    let mut load = Load::new(address);
    load.mode = mode;
    load.at_most = Duration::from_secs(600);
    let load = load.start();
    load.warm(200);
    let before = home.app(name).generation;

    let mut killer = None;
    for count in 0..RELOADS {
        // Drained workers are killed in the later reloads.
        if u64::from(RELOADS - count) * 2 <= KILLS {
            killer.get_or_insert_with(|| Killer::new(home, name));
        }
        home.run(&["reload", name]).ok();
    }
    let killed = killer.map_or(0, Killer::end);
    assert_eq!(home.app(name).generation, before + RELOADS);
    assert!(killed >= KILLS, "only {killed} drained workers were killed");

    for wanted in [4, 1, 3] {
        home.run(&["scale", name, &wanted.to_string()]).ok();
        let app = home.wait_app(name, "that number of workers", Duration::from_secs(60), |app| {
            app.workers.iter().filter(|w| w.pid.is_some()).count() == usize::from(wanted)
        });
        assert_eq!((app.status, app.wanted, app.ready), (Status::Ready, wanted, wanted));
        load.more(100);
    }
    let tally = load.stop().nothing_lost(&format!(
        "{what}, {mode:?}: {RELOADS} reloads, {killed} drained workers killed, scale 2→4→1→3"
    ));
    // Each generation has served: more than half of the 2 × 31 workers are in the tally.
    assert!(tally.by_pid.len() > RELOADS as usize, "{tally}");
}

fn cell(kind: Kind, engine: &str, mode: Mode) {
    let _load = tests::under_load();
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = kind.command(&home, port.number()) else { return };
    let options = ["-i", "2", "--min-uptime", "300ms", "--observe", "300ms", "--engine", engine];
    home.start("web", &options, &command).ok();
    assert!(engine == "auto" || home.app("web").engine == engine);
    nothing_is_lost(&format!("{kind:?}, engine {engine}"), &home, "web", port.v4(), mode);
}

fn demo_cell(mode: Mode) {
    let _load = tests::under_load();
    let (home, port) = (tests::home!(), Port::new());
    home.demo(port.number()).ok();
    nothing_is_lost("demo", &home, "demo", port.v4(), mode);
}

macro_rules! matrix {
    ($($name:ident: $run:expr,)*) => {
        mod heavy_new_connections {
            use super::*;
            $(#[test]
            fn $name() {
                $run(Mode::NewConnection);
            })*
        }

        mod heavy_keep_alive {
            use super::*;
            $(#[test]
            fn $name() {
                $run(KEEP_ALIVE);
            })*
        }
    };
}

matrix! {
    python: |mode| cell(Kind::Python, "auto", mode),
    node: |mode| cell(Kind::Node, "kernel", mode),
    node_by_the_primary: |mode| cell(Kind::Node, "primary", mode),
    go: |mode| cell(Kind::Go, "auto", mode),
    rust: |mode| cell(Kind::Rust, "auto", mode),
    demo: demo_cell,
}

/// Requests that take longer than the start of the next generation are answered.
fn slow_requests_outlive_their_generation(what: &str, command: &[String], port: &Port) {
    let _load = tests::under_load();
    let home = tests::home!();
    home.start("web", &["-i", "2", "--min-uptime", "300ms", "--observe", "300ms"], command).ok();
    let mut load = Load::new(port.v4());
    load.clients = 16;
    let load = load.start();
    load.warm(16);
    for _ in 0..3 {
        home.run(&["reload", "web"]).ok();
    }
    load.stop().nothing_lost(&format!("{what}: requests of 1.5 s each over 3 reloads"));
}

#[test]
fn heavy_slow_requests_of_python_outlive_their_generation() {
    let port = Port::new();
    let Some(command) = fixtures::python("slow.py", &[&port.to_string(), "1.5"]) else { return };
    slow_requests_outlive_their_generation("Python", &command, &port);
}

#[test]
fn heavy_slow_requests_of_node_outlive_their_generation() {
    let port = Port::new();
    let Some(node) = fixtures::need("node") else { return };
    let command = [node, fixtures::file("node/slow.js"), port.to_string(), "1500".to_owned()];
    slow_requests_outlive_their_generation("Node", &command, &port);
}

/// An idle connection does not hold a reload up forever.
#[test]
fn an_idle_connection_does_not_hold_a_reload_up() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    let options =
        ["-i", "1", "--min-uptime", "300ms", "--observe", "300ms", "--drain-idle", "500ms"];
    home.start("web", &options, &command).ok();
    let mut idle = tests::http::Connection::open(port.v4(), Duration::from_secs(5)).unwrap();
    idle.get("/", false).unwrap();
    let outcome = home.run(&["reload", "web"]).ok();
    assert!(outcome.took < Duration::from_secs(10), "{outcome:#?}");
}

/// A reload waits for one that runs. Both succeed, and then the newest code serves.
#[test]
fn reloads_at_the_same_time_coalesce() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    home.start("web", &["-i", "2", "--min-uptime", "300ms", "--observe", "300ms"], &command).ok();
    let all: Vec<_> = (0..4).map(|_| home.spawn(&["reload", "web"])).collect();
    for one in all {
        one.end(Duration::from_secs(60)).ok();
    }
    let app = home.app("web");
    assert_eq!((app.status, app.ready), (Status::Ready, 2), "{app:#?}");
    assert!((2..=5).contains(&app.generation), "{app:#?}");
}
