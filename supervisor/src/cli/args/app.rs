//! The flags that define an app.
//!
//! A value that is well-formed and makes no sense is refused later, when the whole app is checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use config::said::Said;
use config::spec::{AddressPattern, Balance, Engine, Instances, ListenSpec, ReadyRule, RestartOn};

use super::node::NodeOptions;
use super::rights::RightsOptions;
use super::times::TimeOptions;
use super::values::{instances, listen, pattern};
use super::words::{BALANCES, ENGINES, READY_RULES, RESTARTS, signal, words};

/// The keys of an app as flags. A flag that is absent leaves the key as it is.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "The app")]
pub(crate) struct AppOptions {
    /// How many workers: a number, "max" (one per usable CPU), -N (max less N) or P%. Default: 1.
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, value_parser = instances)]
    pub(crate) instances: Option<Instances>,
    /// The app's name. Default: after the file or the command.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Open this address and lend it to the workers (LISTEN_FDS): PORT, IP:PORT, [IPV6]:PORT or
    /// unix:/PATH. Not needed for programs that listen by themselves. May be repeated.
    #[arg(short, long, value_name = "[NAME=]ADDR", value_parser = listen)]
    pub(crate) listen: Vec<ListenSpec>,
    /// Who gets a connection. Default: round-robin.
    #[arg(long, value_name = "HOW", value_parser = words(&BALANCES))]
    pub(crate) balance: Option<Balance>,
    /// What carries the balance out. Default: auto.
    #[arg(long, value_name = "ENGINE", value_parser = words(&ENGINES))]
    pub(crate) engine: Option<Engine>,
    /// Proxies begin each connection with a PROXY header: sticky goes by the client it names.
    #[arg(long)]
    pub(crate) proxy_protocol: bool,
    /// Set a variable in the environment of the workers. May be repeated.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = config::environment::pair)]
    pub(crate) env: Vec<(String, String)>,
    /// The folder that workers start in. Default: this one.
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) rights: RightsOptions,
    /// When a worker counts as ready. Default: auto.
    #[arg(long, value_name = "RULE", value_parser = words(&READY_RULES))]
    pub(crate) ready: Option<ReadyRule>,
    /// Wait for each worker to say READY=1 on NOTIFY_SOCKET; the same as --ready notify.
    #[arg(long, conflicts_with = "ready")]
    pub(crate) wait_ready: bool,
    #[command(flatten)]
    pub(crate) times: TimeOptions,
    /// The signal that asks a worker to stop. Default: TERM.
    #[arg(long, value_name = "SIGNAL", value_parser = signal)]
    pub(crate) stop_signal: Option<i32>,
    /// Which deaths are followed by a restart. Default: always.
    #[arg(long, value_name = "WHEN", value_parser = words(&RESTARTS))]
    pub(crate) restart: Option<RestartOn>,
    /// Leave bind and listen of the workers alone.
    #[arg(long)]
    pub(crate) no_intercept: bool,
    #[command(flatten)]
    pub(crate) node: NodeOptions,
    /// Leave this address alone when a worker binds it: :PORT, IP:* or IP:PORT. May be repeated.
    #[arg(long, value_name = "ADDR", value_parser = pattern)]
    pub(crate) passthrough: Vec<AddressPattern>,
}

impl AppOptions {
    /// The flags as overrides of the keys of a file. `working_dir` is what a relative `--cwd` is
    /// relative to.
    pub(crate) fn overrides(&self, working_dir: &Path) -> Said {
        let Self { times, node, .. } = self;
        Said {
            env: self.env.iter().cloned().collect(),
            pool_env: BTreeMap::new(),
            cwd: self.cwd.as_ref().map(|cwd| working_dir.join(cwd)),
            instances: self.instances,
            listen: self.listen.clone(),
            passthrough: self.passthrough.clone(),
            balance: self.balance,
            engine: self.engine,
            proxy_protocol: self.proxy_protocol,
            no_intercept: self.no_intercept,
            no_node: node.no_node,
            no_node_metrics: node.no_node_metrics,
            ready: if self.wait_ready { Some(ReadyRule::Notify) } else { self.ready },
            times: times.said(),
            stop_signal: self.stop_signal,
            restart: self.restart,
            rights: self.rights.clone().said(),
        }
    }
}
