//! What was said on the command line about an app. It goes before the keys of a file, now and
//! whenever the file is read again.
//!
//! It refuses nothing: whoever applies it weighs the finished spec as always.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::instances::Cpus;
use crate::privileges::Privileges;
use crate::spec::{
    AddressPattern, AppSpec, Balance, Engine, Instances, ListenSpec, ReadyRule, RestartOn,
};

/// One field for each flag; what was not said leaves the key as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Said {
    /// Added to the variables of the file.
    pub env: BTreeMap<String, String>,
    /// The same for the pools, by their names.
    pub pool_env: BTreeMap<String, BTreeMap<String, String>>,
    /// Absolute.
    pub cwd: Option<PathBuf>,
    /// Of the app's own pool.
    pub instances: Option<Instances>,
    /// Instead of those of the file.
    pub listen: Vec<ListenSpec>,
    /// Instead of those of the file.
    pub passthrough: Vec<AddressPattern>,
    /// `--balance`
    pub balance: Option<Balance>,
    /// `--engine`
    pub engine: Option<Engine>,
    /// `--proxy-protocol`
    pub proxy_protocol: bool,
    /// `--no-intercept`
    pub no_intercept: bool,
    /// `--no-node`
    pub no_node: bool,
    /// `--no-node-metrics`
    pub no_node_metrics: bool,
    /// `--ready`, `--wait-ready`
    pub ready: Option<ReadyRule>,
    /// The durations.
    pub times: SaidTimes,
    /// `--stop-signal`
    pub stop_signal: Option<i32>,
    /// `--restart`
    pub restart: Option<RestartOn>,
    /// Who workers are and what they may.
    pub rights: SaidRights,
}

/// The durations of a worker's life, as in [`crate::spec::Times`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SaidTimes {
    pub ready_timeout: Option<Duration>,
    pub listen_wait: Option<Duration>,
    pub min_uptime: Option<Duration>,
    pub kill_timeout: Option<Duration>,
    pub drain_timeout: Option<Duration>,
    pub drain_idle: Option<Duration>,
    pub sticky_wait: Option<Duration>,
    pub hang_timeout: Option<Duration>,
    pub leak_window: Option<Duration>,
}

/// Who workers are, what they may, and who may command, as in [`AppSpec`] and its privileges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SaidRights {
    pub user: Option<String>,
    pub group: Option<String>,
    /// See [`Privileges::over`].
    #[serde(flatten)]
    pub privileges: Privileges,
    pub operators: Option<String>,
    pub observers: Option<String>,
}

fn set<T: Clone>(key: &mut T, said: &Option<T>) {
    if let Some(said) = said {
        key.clone_from(said);
    }
}

/// The same for a key that may be missing.
fn fill<T: Clone>(key: &mut Option<T>, said: &Option<T>) {
    if said.is_some() {
        key.clone_from(said);
    }
}

/// The same for a list.
fn replace<T: Clone>(key: &mut Vec<T>, said: &[T]) {
    if !said.is_empty() {
        *key = said.to_vec();
    }
}

impl Said {
    /// Whether anything was said.
    pub fn is_something(&self) -> bool {
        *self != Self::default()
    }

    /// Puts what was said over a spec from a file, which remembers it.
    pub fn over(self, spec: &mut AppSpec, cpus: &Cpus) {
        self.apply(spec, cpus);
        spec.said = self.is_something().then(|| Box::new(self));
    }

    /// Sets what was said.
    pub fn apply(&self, spec: &mut AppSpec, cpus: &Cpus) {
        let Self { env, pool_env, cwd, instances, listen, passthrough, balance, engine, .. } = self;
        spec.env.extend(env.clone());
        for pool in &mut spec.pools {
            pool.env.extend(pool_env.get(&pool.name).into_iter().flatten().map(owned));
        }
        set(&mut spec.cwd, cwd);
        if let Some(instances) = instances {
            spec.instances = *instances;
            let resolved = instances.resolve(cpus);
            (spec.wanted, spec.wanted_because) = (resolved.count, resolved.because);
        }
        replace(&mut spec.listen, listen);
        replace(&mut spec.passthrough, passthrough);
        set(&mut spec.balance, balance);
        set(&mut spec.engine, engine);
        let Self { proxy_protocol, no_intercept, no_node, no_node_metrics, .. } = self;
        spec.proxy_protocol |= proxy_protocol;
        spec.intercept &= !no_intercept;
        spec.node &= !no_node;
        spec.node_metrics &= !no_node_metrics;
        set(&mut spec.ready, &self.ready);
        self.times.apply(spec);
        set(&mut spec.stop_signal, &self.stop_signal);
        set(&mut spec.restart.on, &self.restart);
        self.rights.apply(spec);
    }

    /// The flags, for people: `--env KEY` without its value, which may be a secret.
    pub fn flags(&self) -> Vec<String> {
        let named = |env: &BTreeMap<String, String>, of: &str| {
            env.keys().map(|key| format!("--env {key}{of}")).collect::<Vec<_>>()
        };
        let mut flags = named(&self.env, "");
        for (pool, env) in &self.pool_env {
            flags.extend(named(env, &format!(" (pool {pool})")));
        }
        flags.extend(self.instances.map(|instances| format!("--instances {instances}")));
        flags.extend(self.cwd.as_ref().map(|cwd| format!("--cwd {}", cwd.display())));
        flags.extend(self.listen.iter().map(|listen| format!("--listen {}", listen.address)));
        let times = &self.times;
        let plain = [
            ("balance", self.balance.is_some()),
            ("engine", self.engine.is_some()),
            ("passthrough", !self.passthrough.is_empty()),
            ("proxy-protocol", self.proxy_protocol),
            ("no-intercept", self.no_intercept),
            ("no-node", self.no_node),
            ("no-node-metrics", self.no_node_metrics),
            ("ready", self.ready.is_some()),
            ("ready-timeout", times.ready_timeout.is_some()),
            ("listen-wait", times.listen_wait.is_some()),
            ("min-uptime", times.min_uptime.is_some()),
            ("kill-timeout", times.kill_timeout.is_some()),
            ("drain-timeout", times.drain_timeout.is_some()),
            ("drain-idle", times.drain_idle.is_some()),
            ("sticky-wait", times.sticky_wait.is_some()),
            ("hang-timeout", times.hang_timeout.is_some()),
            ("leak-window", times.leak_window.is_some()),
            ("stop-signal", self.stop_signal.is_some()),
            ("restart", self.restart.is_some()),
        ];
        let plain = plain.into_iter().chain(self.rights.flags());
        flags.extend(plain.filter(|(_, said)| *said).map(|(flag, _)| format!("--{flag}")));
        flags
    }

    /// Every value of a variable, to be hidden from those who may not see it.
    pub fn secrets(&mut self) -> impl Iterator<Item = &mut String> {
        self.env.values_mut().chain(self.pool_env.values_mut().flat_map(BTreeMap::values_mut))
    }
}

fn owned((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

impl SaidTimes {
    fn apply(&self, spec: &mut AppSpec) {
        let times = &mut spec.times;
        for (time, said) in [
            (&mut times.ready_timeout, self.ready_timeout),
            (&mut times.listen_wait, self.listen_wait),
            (&mut times.min_uptime, self.min_uptime),
            (&mut times.kill_timeout, self.kill_timeout),
            (&mut times.drain_timeout, self.drain_timeout),
            (&mut times.drain_idle, self.drain_idle),
            (&mut times.sticky_wait, self.sticky_wait),
            (&mut times.hang_timeout, self.hang_timeout),
            (&mut times.leak_window, self.leak_window),
        ] {
            set(time, &said);
        }
    }
}

impl SaidRights {
    fn apply(&self, spec: &mut AppSpec) {
        fill(&mut spec.user, &self.user);
        fill(&mut spec.group, &self.group);
        fill(&mut spec.operators, &self.operators);
        fill(&mut spec.observers, &self.observers);
        self.privileges.over(&mut spec.privileges);
    }

    fn flags(&self) -> [(&'static str, bool); 10] {
        let privileges = &self.privileges;
        [
            ("user", self.user.is_some()),
            ("group", self.group.is_some()),
            ("groups", !privileges.groups.is_empty()),
            ("umask", privileges.umask.is_some()),
            ("nice", privileges.nice.is_some()),
            ("oom-score-adj", privileges.oom_score_adj.is_some()),
            ("no-new-privs", privileges.no_new_privs),
            ("limits", !privileges.limits.is_empty()),
            ("operators", self.operators.is_some()),
            ("observers", self.observers.is_some()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::PoolSpec;

    #[test]
    fn what_was_said_goes_before_the_file_and_is_remembered() {
        let mut file = AppSpec::new("web", vec!["serve".into()], "/srv".into());
        file.env = [("A", "file"), ("B", "file")].map(|(k, v)| (k.into(), v.into())).into();
        file.pools.push(PoolSpec::new("hash", vec!["hasher".into()]));
        file.stop_signal = 2;
        let mut said = Said { instances: Some(Instances::Count(3)), ..Said::default() };
        said.env.insert("B".into(), "said".into());
        said.pool_env.insert("hash".into(), [("C".to_owned(), "pool".to_owned())].into());
        said.pool_env.insert("gone".into(), [("D".to_owned(), "pool".to_owned())].into());
        said.times.kill_timeout = Some(Duration::from_secs(1));
        said.rights.privileges.nice = Some(7);
        let mut spec = file.clone();
        said.clone().over(&mut spec, &Cpus::read());
        assert_eq!((spec.env["A"].as_str(), spec.env["B"].as_str()), ("file", "said"));
        assert_eq!(spec.pools[0].env["C"], "pool");
        assert_eq!((spec.wanted, spec.stop_signal, spec.privileges.nice), (3, 2, Some(7)));
        assert_eq!(spec.times.kill_timeout, Duration::from_secs(1));
        assert_eq!(
            said.flags(),
            [
                "--env B",
                "--env D (pool gone)",
                "--env C (pool hash)",
                "--instances 3",
                "--kill-timeout",
                "--nice"
            ]
        );
        assert_eq!(spec.said.as_deref(), Some(&said));
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<AppSpec>(&json).unwrap(), spec);
    }

    #[test]
    fn nothing_said_changes_nothing() {
        let file = AppSpec::new("web", vec!["serve".into()], "/srv".into());
        let mut spec = file.clone();
        Said::default().over(&mut spec, &Cpus::read());
        assert_eq!(spec, file);
        assert!(!serde_json::to_string(&spec).unwrap().contains("said"));
    }
}
