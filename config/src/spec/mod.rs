//! What an app is, as meant: every default filled in, every value checked.
//!
//! This is the form that travels to the primary and that its core works on. It refuses nothing
//! itself: [`crate::file`] and [`crate::overrides`] make it from a file and from arguments, and a
//! reader of an [`AppSpec`] may trust it. The types are here; what is computed from them is in the
//! modules that are called after them.

mod dependency;
mod exit_codes;
mod hooks;
mod life;
pub mod log_files;
mod pool;
mod privileges;
mod probe;
mod recycle;
mod serving;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use dependency::Dependency;
pub use exit_codes::ExitCodes;
pub use hooks::{HookKind, Hooks};
pub use life::{Graceful, ReadyRule, RestartOn, RestartPolicy, Times};
pub use log_files::{LogFiles, LogRate, LogTo, Rotation};
pub use pool::{Instances, PoolSpec};
pub use privileges::{Limit, Privileges, Resource};
pub use probe::{ProbeAsk, ProbeSpec, StatusRange};
pub use recycle::RecyclePolicy;
pub use serving::{AddressPattern, Balance, Engine, IoUring, ListenAddress, ListenSpec};
pub use watch::WatchSpec;

/// Everything needed to run one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct AppSpec {
    /// The app's name: 1 to 64 of letters, digits, `.`, `_`, `-`; no leading dot; not `all`.
    pub name: String,
    /// The program and its arguments. Never empty. `${fd:NAME}` in an argument is the number of the
    /// inherited listening socket of that name.
    pub command: Vec<String>,
    /// The folder that workers start in. Absolute.
    pub cwd: PathBuf,
    /// Added to the environment that the workers inherit.
    pub env: BTreeMap<String, String>,
    /// How many workers, as asked for.
    pub instances: Instances,
    /// With a range of instances: how long the load must stay low before there are fewer workers,
    /// and the shortest time between two such steps.
    #[serde(default = "scale_cooldown")]
    pub scale_cooldown: Duration,
    /// How many workers, as resolved on this machine. At least 1.
    pub wanted: u16,
    /// Which limit decided `wanted`, for people: `2 CPUs (cgroup quota 1.5)`.
    pub wanted_because: String,
    /// Addresses that the primary opens before any worker starts. Workers inherit them by
    /// LISTEN_FDS.
    pub listen: Vec<ListenSpec>,
    /// Which worker gets a connection.
    pub balance: Balance,
    /// What distributes connections to the workers.
    pub engine: Engine,
    /// Proxies begin each connection with a PROXY header, and `sticky` goes by the client that it
    /// names. False.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// Whether `bind` and `listen` of the workers are intercepted.
    pub intercept: bool,
    /// Values that all workers get, and get again when they change, as JSON text.
    #[serde(default)]
    pub shared: Option<String>,
    /// Whether the primary speaks Node's own cluster protocol with Node programs.
    #[serde(default = "yes")]
    pub node: bool,
    /// Whether the event loop's delay and the heap of Node programs are measured, without a change
    /// in them.
    #[serde(default = "yes")]
    pub node_metrics: bool,
    /// Whether Node programs that drain end each kept connection with its next response, without a
    /// change in them.
    #[serde(default = "yes")]
    pub node_drain: bool,
    /// Where every worker must listen to be ready, whatever its predecessor did. Empty: where its
    /// predecessor did.
    #[serde(default)]
    pub serve: Vec<AddressPattern>,
    /// Whether processes of a worker that leave its process group live on when it ends. False.
    #[serde(default)]
    pub keep_detached: bool,
    /// Whether workers get the lease of the leader. False.
    #[serde(default)]
    pub leader: bool,
    /// Addresses that interception leaves alone.
    pub passthrough: Vec<AddressPattern>,
    /// Whether workers may use io_uring, which passes interception by.
    #[serde(default)]
    pub io_uring: IoUring,
    /// Run workers as this user (name or number). Only root may.
    pub user: Option<String>,
    /// Run workers with this group (name or number). Default: the user's own.
    pub group: Option<String>,
    /// What the workers may do and use.
    #[serde(default)]
    pub privileges: Privileges,
    /// Members of this group may query and command the primary, as root and its own user may.
    #[serde(default)]
    pub operators: Option<String>,
    /// Members of this group may query the primary, and not command it.
    #[serde(default)]
    pub observers: Option<String>,
    /// When a worker counts as ready.
    pub ready: ReadyRule,
    /// The durations of a worker's life.
    pub times: Times,
    /// Whether a worker whose connections stay busy gets its stop signal before `drain_timeout`.
    #[serde(default)]
    pub graceful: Graceful,
    /// The signal that tells a worker to stop; a Linux signal number. SIGTERM (15).
    pub stop_signal: i32,
    /// What a worker of Node is told in place of the signal, as a message on its channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_message: Option<String>,
    /// What happens when a worker dies by itself.
    pub restart: RestartPolicy,
    /// When a worker that is well is replaced.
    #[serde(default)]
    pub recycle: RecyclePolicy,
    /// How a worker is asked whether it may get connections.
    #[serde(default)]
    pub readiness: ProbeSpec,
    /// How a worker is asked whether it must be replaced.
    #[serde(default)]
    pub liveness: ProbeSpec,
    /// Commands that run at moments of a worker's life.
    #[serde(default)]
    pub hooks: Hooks,
    /// When all workers are replaced, as a pattern of cron that [`crate::schedule`] can read.
    #[serde(default)]
    pub cron_restart: Option<String>,
    /// The time zone of `cron_restart`. Default: that of the machine.
    #[serde(default)]
    pub cron_timezone: Option<String>,
    /// Which files are watched: a change of one reloads the app.
    #[serde(default)]
    pub watch: WatchSpec,
    /// Bytes of the longest log line; a longer one is cut.
    #[serde(default = "log_line_max")]
    pub log_line_max: usize,
    /// Where the output of workers goes.
    #[serde(default)]
    pub logs: LogFiles,
    /// The file that this came from, if any; `reload` reads it again.
    pub source: Option<PathBuf>,
    /// Whether `start` starts the app when its file is named, and not the app itself.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub autostart: bool,
    /// The file that names the pids of the workers. With `{slot}` in its name, each worker has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_file: Option<PathBuf>,
    /// The apps that are started before this one, and what this one waits for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub depends_on: BTreeMap<String, Dependency>,
    /// The group of apps that `NAMESPACE:` stands for, if the app is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Whether `apply` started the app: `apply --prune` may then delete it. False.
    #[serde(default, skip_serializing_if = "is_no")]
    pub applied: bool,
    /// The profile that was chosen when that file was read; it is read again with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The flags that were given beside that file; they go before its keys.
    #[serde(rename = "said", default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Box<Overrides>>,
    /// The variables that the file used when a command that names it read it last, with the values
    /// that they had then; `None`: not set. The file is read again with these.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, Option<String>>,
    /// What workers inherit in place of the environment that the primary was started with: a
    /// reload brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherited: Option<BTreeMap<String, String>>,
    /// Further groups of workers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<PoolSpec>,
    /// The pool that this describes, if it is not the app's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// The flags that `start` was given beside a file: they go before the keys of the file, now and
/// whenever it is read again. Made and applied by [`crate::overrides`], which also writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct Overrides {
    /// The keys that are set, by their names.
    pub(crate) keys: BTreeSet<&'static str>,
    /// What they are set to; every other field has its default.
    pub(crate) values: Box<AppSpec>,
    /// Variables for the pools, by the pools' names: `reload --pool` sets them.
    pub(crate) pool_env: BTreeMap<String, BTreeMap<String, String>>,
}

/// For fields that the specs of older builds do not have.
fn scale_cooldown() -> Duration {
    Duration::from_secs(60)
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_yes(flag: &bool) -> bool {
    *flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_no(flag: &bool) -> bool {
    !*flag
}

/// 16 KiB.
fn log_line_max() -> usize {
    16 * 1024
}

impl AppSpec {
    /// Every default, and nothing to run: a place for single values.
    pub(crate) fn blank() -> Self {
        Self::new("", Vec::new(), PathBuf::new())
    }

    /// A spec with every default, for `command` in `cwd`. `wanted` is 1.
    pub fn new(name: impl Into<String>, command: Vec<String>, cwd: PathBuf) -> Self {
        Self {
            name: name.into(),
            command,
            cwd,
            env: BTreeMap::new(),
            instances: Instances::Count(1),
            scale_cooldown: scale_cooldown(),
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
            node_drain: true,
            serve: Vec::new(),
            keep_detached: false,
            leader: false,
            passthrough: Vec::new(),
            io_uring: IoUring::Allow,
            user: None,
            group: None,
            privileges: Privileges::default(),
            operators: None,
            observers: None,
            ready: ReadyRule::Auto,
            times: Times::default(),
            graceful: Graceful::Auto,
            stop_signal: 15,
            stop_message: None,
            restart: RestartPolicy::default(),
            recycle: RecyclePolicy::default(),
            readiness: ProbeSpec::default(),
            liveness: ProbeSpec::default(),
            hooks: Hooks::default(),
            cron_restart: None,
            cron_timezone: None,
            watch: WatchSpec::default(),
            log_line_max: log_line_max(),
            logs: LogFiles::default(),
            source: None,
            autostart: true,
            pid_file: None,
            depends_on: BTreeMap::new(),
            namespace: None,
            applied: false,
            profile: None,
            overrides: None,
            variables: BTreeMap::new(),
            inherited: None,
            pools: Vec::new(),
            pool: None,
        }
    }
}
