//! What the primary tells a service manager (sd_notify), received by a datagram socket of the test.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt::ReceiveTimestamp,
};
use nix::sys::time::TimeVal;
use tests::wait::uninterrupted;
use tests::{Home, Port, fixtures, process, run};

const SOON: Duration = Duration::from_secs(20);
/// The most descriptors that one message may carry (unix(7)).
const SCM_MAX_FD: usize = 253;
/// How often the manager demands a sign of life.
const WATCHDOG: Duration = Duration::from_secs(2);

/// The socket of the manager, and everything that it has received.
struct Manager {
    socket: UnixDatagram,
    /// Each line, and when it was sent.
    heard: Vec<(Duration, String)>,
    /// How many of these the test has asked for or passed over.
    taken: usize,
}

impl Manager {
    fn new(home: &Home) -> (Self, String) {
        let path = home.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        // The kernel notes when a datagram was sent, so that it does not matter when we read it.
        setsockopt(&socket, ReceiveTimestamp, &true).expect("set SO_TIMESTAMP");
        (Self { socket, heard: Vec::new(), taken: 0 }, path.display().to_string())
    }

    /// Waits for the next line with this beginning.
    #[track_caller]
    fn hear(&mut self, beginning: &str) -> String {
        let end = Instant::now() + SOON;
        loop {
            while let Some((_, line)) = self.heard.get(self.taken) {
                self.taken += 1;
                if line.starts_with(beginning) {
                    return line.clone();
                }
            }
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(left)).expect("a timeout");
            let (sent, text) = uninterrupted(|| self.receive())
                .unwrap_or_else(|error| panic!("no {beginning} ({error}) but {:#?}", self.heard));
            self.heard.extend(text.lines().map(|line| (sent, line.to_owned())));
        }
    }

    /// The next datagram, and when it was sent, since the epoch.
    fn receive(&self) -> io::Result<(Duration, String)> {
        let mut bytes = [0; 8192];
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let mut control = nix::cmsg_space!(TimeVal, [RawFd; SCM_MAX_FD]);
        let message = recvmsg::<()>(
            self.socket.as_raw_fd(),
            &mut slices,
            Some(&mut control),
            MsgFlags::empty(),
        )?;
        let mut sent = None;
        for control in message.cmsgs()? {
            match control {
                ControlMessageOwned::ScmTimestamp(at) => sent = Some(at),
                // Descriptors for the manager to keep.
                ControlMessageOwned::ScmRights(fds) => {
                    fds.into_iter().try_for_each(nix::unistd::close)?;
                }
                _ => {}
            }
        }
        let sent = sent.expect("the kernel gives each datagram a time");
        let seconds = u64::try_from(sent.tv_sec()).expect("after the epoch");
        let micros = u64::try_from(sent.tv_usec()).expect("a part of a second");
        let text = message.iovs().map(String::from_utf8_lossy).collect();
        Ok((Duration::from_secs(seconds) + Duration::from_micros(micros), text))
    }

    /// When this line was sent, each time.
    fn times(&self, line: &str) -> Vec<Duration> {
        self.heard.iter().filter(|(_, heard)| heard == line).map(|(at, _)| *at).collect()
    }
}

fn foreground(home: &Home, socket: &str, port: &Port, options: &[&str]) -> Option<run::Running> {
    let program = fixtures::pid_server(port)?;
    let mut command = home.command();
    command.env("NOTIFY_SOCKET", socket).env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
    command.args(["start", "--foreground", "--name", "web", "--min-uptime", "300ms"]);
    command.args(options).arg("--").args(program);
    Some(run::spawn(&mut command, home.path()))
}

#[test]
fn start_reload_watchdog_and_stop() {
    let (home, port) = (tests::home!(), Port::new());
    let (mut manager, socket) = Manager::new(&home);
    let Some(primary) = foreground(&home, &socket, &port, &["-i", "2"]) else { return };
    manager.hear("READY=1");
    assert!(tests::http::get(port.v4(), SOON).is_ok(), "it is ready and does not serve");
    assert!(
        !manager.times("EXTEND_TIMEOUT_USEC=20000000").is_empty(),
        "it does not ask for more time to start"
    );

    process::kill(primary.pid(), Signal::SIGHUP);
    manager.hear("RELOADING=1");
    let text = manager.hear("MONOTONIC_USEC=");
    let stamp = text.strip_prefix("MONOTONIC_USEC=");
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("a clock");
    let stamp: i64 = stamp.and_then(|usec| usec.parse().ok()).expect(&text);
    assert!(((now.tv_sec() + 1) * 1_000_000 - stamp) < 60_000_000, "{text}");
    manager.hear("READY=1");
    let status = manager.hear("STATUS=2/2 workers ready, generation 2; last reload: ");
    assert!(status.contains("2 workers replaced"), "{status}");

    // Twice in each span in which WATCHDOG_USEC demands one.
    let before = manager.times("WATCHDOG=1").len();
    while manager.times("WATCHDOG=1").len() < before + 6 {
        manager.hear("WATCHDOG=1");
    }
    let beats = manager.times("WATCHDOG=1");
    let apart = beats.windows(2).map(|two| two[1] - two[0]).max().expect("several");
    assert!(apart < WATCHDOG, "a manager would have lost patience: {apart:?}");

    process::kill(primary.pid(), Signal::SIGTERM);
    manager.hear("STOPPING=1");
    primary.end(SOON).ok();
    let workers = home.log("web", "err.log") + &home.log("web", "out.log");
    assert!(!workers.contains("NOTIFY"), "{workers}");
}

/// With Type=notify-reload the manager waits for RELOADING and READY, even if the reload fails.
#[test]
fn a_reload_that_fails_ends_with_ready() {
    let (home, port) = (tests::home!(), Port::new());
    let mut deploys = fixtures::Deploys::new(&home);
    deploys.put("good", "pid_server.py");
    let Some(program) = deploys.command(&[&port]) else { return };
    let (mut manager, socket) = Manager::new(&home);
    let mut command = home.command();
    command.env("NOTIFY_SOCKET", &socket).args(["start", "--foreground", "--name", "web", "--"]);
    let primary = run::spawn(command.args(program), home.path());
    manager.hear("READY=1");
    deploys.put("broken", "exits.py");
    process::kill(primary.pid(), Signal::SIGHUP);
    manager.hear("RELOADING=1");
    manager.hear("READY=1");
    let status = manager.hear("STATUS=1/1 workers ready, generation 1; last reload: ");
    assert!(status.contains("rolled back"), "{status}");
    process::kill(primary.pid(), Signal::SIGTERM);
    primary.end(SOON).ok();
}

#[test]
fn a_start_that_fails_is_never_ready() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(program) = fixtures::python("exits.py", &[&port]) else { return };
    let (manager, socket) = Manager::new(&home);
    let mut command = home.command();
    command.env("NOTIFY_SOCKET", &socket).args(["start", "--foreground", "--name", "web", "--"]);
    run::spawn(command.args(program), home.path()).end(SOON).code(1);
    manager.socket.set_nonblocking(true).expect("non-blocking");
    let mut bytes = [0; 8192];
    while let Ok(count) = manager.socket.recv(&mut bytes) {
        let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
        assert!(!text.lines().any(|line| line == "READY=1"), "{text}");
    }
}
