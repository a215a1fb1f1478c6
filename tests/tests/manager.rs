//! What a service manager hears (sd_notify), without one: a datagram socket that listens.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tests::wait::uninterrupted;
use tests::{Home, Port, fixtures, process, run};

const SOON: Duration = Duration::from_secs(20);

/// The manager's end, and all it has heard.
struct Ear {
    socket: UnixDatagram,
    heard: Vec<(Instant, String)>,
    /// How many of these were asked for or passed over.
    taken: usize,
}

impl Ear {
    fn new(home: &Home) -> (Self, String) {
        let path = home.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        (Self { socket, heard: Vec::new(), taken: 0 }, path.display().to_string())
    }

    /// Waits for the next line that begins so, after those that were waited for.
    #[track_caller]
    fn hear(&mut self, beginning: &str) -> String {
        let end = Instant::now() + SOON;
        let mut bytes = [0; 8192];
        loop {
            while let Some((_, line)) = self.heard.get(self.taken) {
                self.taken += 1;
                if line.starts_with(beginning) {
                    return line.clone();
                }
            }
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(left)).expect("a timeout");
            let Ok(count) = uninterrupted(|| self.socket.recv(&mut bytes)) else {
                panic!("no {beginning} but {:#?}", self.heard)
            };
            let text = String::from_utf8_lossy(&bytes[..count]);
            self.heard.extend(text.lines().map(|line| (Instant::now(), line.to_owned())));
        }
    }

    fn times(&self, line: &str) -> Vec<Instant> {
        self.heard.iter().filter(|(_, heard)| heard == line).map(|(at, _)| *at).collect()
    }
}

fn foreground(home: &Home, socket: &str, port: &Port, options: &[&str]) -> Option<run::Running> {
    let program = fixtures::pid_server(port)?;
    let mut command = home.command();
    command.env("NOTIFY_SOCKET", socket).env("WATCHDOG_USEC", "1000000");
    command.args(["start", "--foreground", "--name", "web", "--min-uptime", "300ms"]);
    command.args(options).arg("--").args(program);
    Some(run::spawn(&mut command, home.path()))
}

#[test]
fn it_hears_of_start_reload_stop_and_of_life() {
    let (home, port) = (tests::home!(), Port::new());
    let (mut ear, socket) = Ear::new(&home);
    let Some(primary) = foreground(&home, &socket, &port, &["-i", "2"]) else { return };
    ear.hear("READY=1");
    assert!(tests::http::get(port.v4(), SOON).is_ok(), "ready means that it serves");
    assert!(!ear.times("EXTEND_TIMEOUT_USEC=20000000").is_empty(), "a start may take its time");

    process::kill(primary.pid(), Signal::SIGHUP);
    ear.hear("RELOADING=1");
    let text = ear.hear("MONOTONIC_USEC=");
    let stamp = text.strip_prefix("MONOTONIC_USEC=");
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("a clock");
    let stamp: i64 = stamp.and_then(|usec| usec.parse().ok()).expect(&text);
    assert!(((now.tv_sec() + 1) * 1_000_000 - stamp) < 60_000_000, "{text}");
    ear.hear("READY=1");
    let status = ear.hear("STATUS=2/2 workers ready, generation 2; last reload: ");
    assert!(status.contains("2 workers replaced"), "{status}");
    // READY in the middle of a reload would tell the manager that the reload is over.
    let said = ["RELOADING=1", "READY=1"].map(|line| ear.times(line).len());
    assert_eq!(said, [1, 2], "{:#?}", ear.heard);

    // Twice in each second that WATCHDOG_USEC demands one.
    let before = ear.times("WATCHDOG=1").len();
    while ear.times("WATCHDOG=1").len() < before + 6 {
        ear.hear("WATCHDOG=1");
    }
    let beats = ear.times("WATCHDOG=1");
    let apart = beats.windows(2).map(|two| two[1] - two[0]).max().expect("several");
    assert!(apart < Duration::from_secs(1), "a manager would have lost patience: {apart:?}");

    process::kill(primary.pid(), Signal::SIGTERM);
    ear.hear("STOPPING=1");
    primary.end(SOON).ok();
    let workers = home.log("web", "err.log") + &home.log("web", "out.log");
    assert!(!workers.contains("NOTIFY"), "{workers}");
}

/// With Type=notify-reload the manager waits for RELOADING and READY, whatever comes of it.
#[test]
fn a_reload_that_fails_is_over_all_the_same() {
    let (home, port) = (tests::home!(), Port::new());
    let mut deploys = fixtures::Deploys::new(&home);
    deploys.put("good", "pid_server.py");
    let Some(program) = deploys.command(&[&port]) else { return };
    let (mut ear, socket) = Ear::new(&home);
    let mut command = home.command();
    command.env("NOTIFY_SOCKET", &socket).args(["start", "--foreground", "--name", "web", "--"]);
    let primary = run::spawn(command.args(program), home.path());
    ear.hear("READY=1");
    deploys.put("broken", "exits.py");
    process::kill(primary.pid(), Signal::SIGHUP);
    ear.hear("RELOADING=1");
    ear.hear("READY=1");
    let status = ear.hear("STATUS=1/1 workers ready, generation 1; last reload: ");
    assert!(status.contains("rolled back"), "{status}");
    process::kill(primary.pid(), Signal::SIGTERM);
    primary.end(SOON).ok();
}

#[test]
fn a_start_that_fails_is_never_ready() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(program) = fixtures::python("exits.py", &[&port]) else { return };
    let (ear, socket) = Ear::new(&home);
    let mut command = home.command();
    command.env("NOTIFY_SOCKET", &socket).args(["start", "--foreground", "--name", "web", "--"]);
    run::spawn(command.args(program), home.path()).end(SOON).code(1);
    ear.socket.set_nonblocking(true).expect("non-blocking");
    let mut bytes = [0; 8192];
    while let Ok(count) = ear.socket.recv(&mut bytes) {
        let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
        assert!(!text.lines().any(|line| line == "READY=1"), "{text}");
    }
}
