//! The ways to run two copies of one server on one port.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use socket2::{Domain, Socket, Type};
use tests::{Home, Load, Port, fixtures, run, staging, wait_until};

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Node,
    Go,
}

/// What runs the two copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    /// Nothing: each copy has a socket of its own in one SO_REUSEPORT group.
    Bare,
    /// The supervisor with its kernel engine.
    Ours,
    /// The supervisor with its primary engine.
    OursPrimary,
    /// Node's own cluster, round-robin by its primary.
    NodeRoundRobin,
    /// Node's own cluster, one socket for all workers.
    NodeNone,
    /// PM2 in cluster mode.
    Pm2,
}

/// A server with everything that the setups need.
pub(crate) struct Plan {
    pub(crate) server: Server,
    supervisor: String,
    program: String,
    script: String,
    pm2: Option<PathBuf>,
}

/// Two running copies. Dropping this ends them.
pub(crate) struct Running {
    home: Home,
    port: Port,
    setup: Setup,
    children: Vec<run::Running>,
}

impl Setup {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "(a) SO_REUSEPORT by hand",
            Self::Ours => "(b) supervisor, kernel engine",
            Self::OursPrimary => "(c) supervisor, primary engine",
            Self::NodeRoundRobin => "(d) Node's cluster, RR",
            Self::NodeNone => "(e) Node's cluster, NONE",
            Self::Pm2 => "(f) PM2 cluster mode",
        }
    }
}

/// Starts two copies in one session of their own, as the workers of the supervisor and of PM2 are.
/// The kernel divides the CPUs between sessions first (sched_autogroup_enabled), so copies in the
/// session of the load generator would get a different share. The first two arguments are their
/// `FD`.
const TWO_COPIES: &str = "a=$0 b=$1; shift; FD=$a \"$@\" & FD=$b \"$@\" & wait";

impl Plan {
    pub(crate) fn new(server: Server, supervisor: &str) -> Option<Self> {
        let (program, script, pm2) = match server {
            Server::Node => (fixtures::need("node")?, fixtures::file("bench/server.js"), pm2()),
            Server::Go => (fixtures::go("bench/server.go")?, String::new(), None),
        };
        Some(Self { server, supervisor: supervisor.to_owned(), program, script, pm2 })
    }

    /// Those that can be had here.
    pub(crate) fn setups(&self) -> Vec<Setup> {
        let mut setups = vec![Setup::Bare, Setup::Ours];
        if self.server == Server::Node {
            setups.extend([Setup::OursPrimary, Setup::NodeRoundRobin, Setup::NodeNone]);
            setups.extend(self.pm2.is_some().then_some(Setup::Pm2));
        }
        setups
    }

    /// The setups that cannot run here.
    pub(crate) fn missing(&self) -> Vec<Setup> {
        let missing = self.server == Server::Node && self.pm2.is_none();
        missing.then_some(Setup::Pm2).into_iter().collect()
    }

    /// The setups that can replace their workers.
    pub(crate) fn reloadable(&self) -> Vec<Setup> {
        let can = |setup: &Setup| matches!(setup, Setup::Ours | Setup::OursPrimary | Setup::Pm2);
        self.setups().into_iter().filter(can).collect()
    }

    /// Starts two copies and waits until both answer.
    pub(crate) fn start(&self, setup: Setup) -> Running {
        let home = Home::new(&self.supervisor);
        let mut running = Running { home, port: Port::new(), setup, children: Vec::new() };
        match (setup, self.server) {
            (Setup::Bare, Server::Go) => self.bare_go(&mut running),
            (Setup::Bare, Server::Node) => self.bare_node(&mut running),
            (Setup::Ours, _) => self.ours(&running, "auto"),
            (Setup::OursPrimary, _) => self.ours(&running, "primary"),
            (Setup::NodeRoundRobin, _) => self.node_cluster(&mut running, "rr"),
            (Setup::NodeNone, _) => self.node_cluster(&mut running, "none"),
            (Setup::Pm2, _) => {
                let options = ["start", &self.script, "-i", "2", "--name", "bench"];
                self.pm2(&running, &options);
            }
        }
        running.wait_for_both();
        running
    }

    fn bare_go(&self, running: &mut Running) {
        let mut command = running.home.command_of("setsid");
        command.args(["sh", "-c", TWO_COPIES, "0", "0"]);
        command.args([&self.program, "-reuseport", &running.port.to_string()]);
        running.children.push(run::spawn(&mut command, running.home.path()));
    }

    /// Older versions of Node cannot set SO_REUSEPORT, so each copy inherits a socket that has it.
    fn bare_node(&self, running: &mut Running) {
        let mut sockets = Vec::new();
        for _ in 0..2 {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.set_reuse_port(true).expect("set SO_REUSEPORT");
            socket.set_reuse_address(true).expect("set SO_REUSEADDR");
            socket.bind(&running.port.v4().into()).expect("bind");
            fcntl(&socket, FcntlArg::F_SETFD(FdFlag::empty())).expect("let the fd be inherited");
            sockets.push(socket);
        }
        let mut command = running.home.command_of("setsid");
        command.args(["sh", "-c", TWO_COPIES]);
        command.args(sockets.iter().map(|socket| socket.as_raw_fd().to_string()));
        command.args([&self.program, &self.script]);
        running.children.push(run::spawn(&mut command, running.home.path()));
        // This process closes its sockets here; the copies have their own.
    }

    fn node_cluster(&self, running: &mut Running, policy: &str) {
        let mut command = running.home.command_of("setsid");
        command
            .args([&self.program, &fixtures::file("bench/cluster.js")])
            .env("NODE_CLUSTER_SCHED_POLICY", policy)
            .env("PORT", running.port.to_string());
        running.children.push(run::spawn(&mut command, running.home.path()));
    }

    fn ours(&self, running: &Running, engine: &str) {
        let port = running.port.to_string();
        let variable = format!("PORT={port}");
        let (program, script) = (self.program.as_str(), self.script.as_str());
        match self.server {
            Server::Node => {
                let options = ["-i", "2", "--engine", engine, "--env", &variable];
                running.home.start("bench", &options, &[program, script]).ok();
            }
            Server::Go => {
                running.home.start("bench", &["-i", "2"], &[program, &port]).ok();
            }
        }
    }

    /// Replaces both workers and waits for the end of it.
    pub(crate) fn reload(&self, running: &Running) {
        match running.setup {
            Setup::Ours | Setup::OursPrimary => {
                running.home.run(&["reload", "bench"]).ok();
            }
            Setup::Pm2 => self.pm2(running, &["reload", "bench"]),
            Setup::Bare | Setup::NodeRoundRobin | Setup::NodeNone => {}
        }
    }

    fn pm2(&self, running: &Running, options: &[&str]) {
        let pm2 = self.pm2.as_ref().expect("planned only where it is installed");
        let mut command = running.home.command_of(&self.program);
        command
            .arg(pm2)
            .args(options)
            .env("PM2_HOME", running.home.path().join("pm2"))
            .env("PORT", running.port.to_string());
        run::spawn(&mut command, running.home.path()).end(Duration::from_secs(60)).ok();
    }
}

impl Running {
    pub(crate) fn address(&self) -> SocketAddr {
        self.port.v4()
    }

    /// Our primary.
    pub(crate) fn primary(&self) -> Option<u32> {
        let ours = matches!(self.setup, Setup::Ours | Setup::OursPrimary);
        ours.then(|| self.home.app("bench").primary_pid)
    }

    /// Waits until both copies answer. It uses several clients at once: if the copies share one
    /// socket, the second gets a connection only while the first is busy.
    fn wait_for_both(&self) {
        wait_until("both copies to answer", Duration::from_secs(30), || {
            let load = Load::new(self.address());
            let tally = Load { clients: 8, requests: 80, ..load }.run();
            (tally.by_pid.len() == 2).then_some(())
        });
    }
}

/// The path of PM2, which npm installs once.
pub(crate) fn pm2() -> Option<PathBuf> {
    let folder = staging::root().join("pm2");
    let program = folder.join("node_modules/pm2/bin/pm2");
    if !program.exists() {
        let npm = fixtures::need("npm")?;
        staging::make_folder(&folder);
        let mut command = Command::new(npm);
        command.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(&folder).arg("pm2");
        let outcome = run::spawn(&mut command, &folder).end(Duration::from_secs(300));
        if outcome.code != Some(0) {
            eprintln!("SKIPPED: PM2 cannot be installed here: {}", outcome.stderr.trim());
            return None;
        }
    }
    Some(program)
}
