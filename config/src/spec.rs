//! What an app is, as meant: every default filled in, every value checked.
//!
//! This is the form that travels to the primary and that the core works on. It refuses nothing
//! itself: `raw` and `check` make it from a file or from arguments, and whoever holds an
//! [`AppSpec`] may trust it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pool::PoolSpec;
use crate::privileges::Privileges;
use crate::said::Said;

/// Everything needed to run one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppSpec {
    /// The app's name: 1 to 64 of letters, digits, `.`, `_`, `-`; no leading dot; not `all`.
    pub name: String,
    /// The program and its arguments. Never empty. `${fd:NAME}` in an argument is replaced by the
    /// number of the lent listening socket of that name.
    pub command: Vec<String>,
    /// The folder that workers start in. Absolute.
    pub cwd: PathBuf,
    /// Added to the environment that the primary was started with.
    pub env: BTreeMap<String, String>,
    /// How many workers, as asked for.
    pub instances: Instances,
    /// How many workers, as resolved on this machine. At least 1.
    pub wanted: u16,
    /// Which limit decided `wanted`, for people: `2 CPUs (cgroup quota 1.5)`.
    pub wanted_because: String,
    /// Addresses that are opened before any worker starts, and lent by LISTEN_FDS.
    pub listen: Vec<ListenSpec>,
    /// Who gets a connection.
    pub balance: Balance,
    /// What carries the balance out.
    pub engine: Engine,
    /// Proxies begin each connection with a PROXY header, and `sticky` goes by the client that it
    /// names. False.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// Whether `bind` and `listen` of the workers are intercepted.
    pub intercept: bool,
    /// Values that all workers share and hear of when they change, as JSON text.
    #[serde(default)]
    pub shared: Option<String>,
    /// Whether Node's own cluster protocol is spoken with Node programs.
    #[serde(default = "yes")]
    pub node: bool,
    /// Whether Node programs tell their event loop's delay and heap, without knowing it.
    #[serde(default = "yes")]
    pub node_metrics: bool,
    /// Addresses that interception leaves alone.
    pub passthrough: Vec<AddressPattern>,
    /// Run workers as this user (name or number). Only root may.
    pub user: Option<String>,
    /// Run workers with this group (name or number). Default: the user's own.
    pub group: Option<String>,
    /// What the workers may do and use.
    #[serde(default)]
    pub privileges: Privileges,
    /// Members of this group may ask and command the primary, besides root and its own user.
    #[serde(default)]
    pub operators: Option<String>,
    /// Members of this group may ask the primary, and not command it.
    #[serde(default)]
    pub observers: Option<String>,
    /// When a worker counts as ready.
    pub ready: ReadyRule,
    /// The durations of a worker's life.
    pub times: Times,
    /// What is sent to a worker that shall stop; a Linux signal number. Default SIGTERM (15).
    pub stop_signal: i32,
    /// What happens when a worker dies by itself.
    pub restart: RestartPolicy,
    /// The file this came from, if any; `reload` reads it again.
    pub source: Option<PathBuf>,
    /// What was said on the command line beside that file; it goes before the file's keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<Box<Said>>,
    /// Further groups of workers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<PoolSpec>,
    /// The one of its pools that this was made for. `None`: it is the app's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// How many workers a person asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Instances {
    /// Exactly so many; at least 1.
    Count(u16),
    /// One per CPU that this process may really use.
    Max,
    /// So many fewer than `Max`, but at least 1.
    MaxMinus(u16),
    /// This share of `Max` in percent, rounded to the nearest, but at least 1.
    Percent(u16),
}

/// One configured address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenSpec {
    /// The name in LISTEN_FDNAMES and `${fd:NAME}`; letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// Where.
    pub address: ListenAddress,
}

/// An address that can be listened on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListenAddress {
    /// A TCP address. The port is never 0.
    Tcp(SocketAddr),
    /// A unix stream socket at this absolute path.
    Unix(PathBuf),
}

/// An address or a part of one, for `passthrough`: `:9229` any address with that port,
/// `127.0.0.1:*` any port of that address, `127.0.0.1:9229` exactly that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPattern {
    /// `None`: any address.
    pub ip: Option<std::net::IpAddr>,
    /// `None`: any port.
    pub port: Option<u16>,
}

/// Who gets a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// Each ready worker in turn.
    RoundRobin,
    /// The same client address, the same slot.
    Sticky,
    /// The worker that holds the fewest connections.
    LeastConnections,
    /// Each connection is placed evenly and independently by the kernel.
    Hash,
    /// One socket for all; whichever worker accepts first.
    Shared,
}

/// What carries the balance out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Kernel where it can, else primary.
    Auto,
    /// A steering program on the sockets; no connection passes through the primary.
    Kernel,
    /// The primary accepts and hands the connection over.
    Primary,
}

/// When a worker counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadyRule {
    /// It listens on every address its predecessor served. Without a predecessor: at its first
    /// `listen`, or when it has not listened for `listen_wait` (then it is taken for a program
    /// that serves nothing) or, where the sockets were lent, after `min_uptime`.
    Auto,
    /// Like `Auto`, but a worker that never listens is a failure.
    Listen,
    /// It says so: READY=1 on NOTIFY_SOCKET.
    Notify,
    /// It has lived `min_uptime`.
    Uptime,
}

/// The durations of a worker's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// From exec to ready; longer is a failure. 30 s.
    pub ready_timeout: Duration,
    /// How long a first worker may take to listen before it is taken for one that never does. 5 s.
    pub listen_wait: Duration,
    /// How long the first new worker of a reload (the canary) must live after it is ready before
    /// it gets connections. 1 s.
    pub min_uptime: Duration,
    /// From the stop signal to SIGKILL. 10 s.
    pub kill_timeout: Duration,
    /// How long a worker that gets no new connections may hold its old ones. 30 s.
    pub drain_timeout: Duration,
    /// How long a connection must be quiet, the worker having spoken last, to count as idle. 2 s.
    pub drain_idle: Duration,
    /// How long the clients of a dead slot wait for its next worker, with `balance = sticky`. 5 s.
    #[serde(default = "sticky_wait")]
    pub sticky_wait: Duration,
    /// How long connections may wait for a worker that takes none before it counts as hung and is
    /// killed. Zero: for ever. 0.
    #[serde(default)]
    pub hang_timeout: Duration,
    /// How long memory must only have grown before a leak is suspected. Zero: never. 10 min.
    #[serde(default = "leak_window")]
    pub leak_window: Duration,
}

/// What happens when a worker dies by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// Which deaths are followed by a restart.
    pub on: RestartOn,
    /// Failures in a row before a slot that was never ready is given up. 3.
    pub start_retries: u16,
    /// Failures within `window` before a slot that has been ready is given up. 10.
    pub max_restarts: u16,
    /// The window of `max_restarts`. 60 s.
    pub window: Duration,
    /// First delay; doubles with each failure. 100 ms. The first restart after `backoff_reset` of
    /// health is immediate.
    pub backoff_min: Duration,
    /// Longest delay. 15 s.
    pub backoff_max: Duration,
    /// So long ready, and the delay starts from the beginning. 30 s.
    pub backoff_reset: Duration,
}

/// Which deaths are followed by a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartOn {
    /// Every one.
    Always,
    /// Those with an exit code other than 0, or by a signal.
    Failure,
    /// None.
    Never,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            ready_timeout: Duration::from_secs(30),
            listen_wait: Duration::from_secs(5),
            min_uptime: Duration::from_secs(1),
            kill_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            drain_idle: Duration::from_secs(2),
            sticky_wait: sticky_wait(),
            hang_timeout: Duration::ZERO,
            leak_window: leak_window(),
        }
    }
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            on: RestartOn::Always,
            start_retries: 3,
            max_restarts: 10,
            window: Duration::from_secs(60),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(15),
            backoff_reset: Duration::from_secs(30),
        }
    }
}

/// For fields that specs of older builds do not have.
fn yes() -> bool {
    true
}

fn sticky_wait() -> Duration {
    Duration::from_secs(5)
}

fn leak_window() -> Duration {
    Duration::from_secs(600)
}

impl AppSpec {
    /// A spec with every default, for `command` in `cwd`. `wanted` is 1.
    pub fn new(name: impl Into<String>, command: Vec<String>, cwd: PathBuf) -> Self {
        Self {
            name: name.into(),
            command,
            cwd,
            env: BTreeMap::new(),
            instances: Instances::Count(1),
            wanted: 1,
            wanted_because: "1 asked for".to_owned(),
            listen: Vec::new(),
            balance: Balance::RoundRobin,
            engine: Engine::Auto,
            proxy_protocol: false,
            shared: None,
            intercept: true,
            node: true,
            node_metrics: true,
            passthrough: Vec::new(),
            user: None,
            group: None,
            privileges: Privileges::default(),
            operators: None,
            observers: None,
            ready: ReadyRule::Auto,
            times: Times::default(),
            stop_signal: 15,
            restart: RestartPolicy::default(),
            source: None,
            said: None,
            pools: Vec::new(),
            pool: None,
        }
    }
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl AddressPattern {
    /// Whether `address` is meant.
    pub fn matches(&self, address: SocketAddr) -> bool {
        self.ip.is_none_or(|ip| ip == address.ip()) && self.port.is_none_or(|p| p == address.port())
    }
}
