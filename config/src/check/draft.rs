//! One app while its keys are read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::{privileges, unknown};
use crate::instances::Cpus;
use crate::raw::{Findings, Written, in_order};
use crate::spec::{
    AddressPattern, AppSpec, Balance, Engine, Instances, ListenSpec, ReadyRule, RestartOn,
};
use crate::{address, command, environment, name, shared, signal};

/// Every key an app can have.
pub const KEYS: [&str; 45] = [
    "name",
    "command",
    "script",
    "cwd",
    "env",
    "instances",
    "listen",
    "balance",
    "engine",
    "proxy_protocol",
    "intercept",
    "node",
    "node_metrics",
    "passthrough",
    "shared",
    "user",
    "group",
    "groups",
    "umask",
    "nice",
    "oom_score_adj",
    "no_new_privs",
    "limits",
    "operators",
    "observers",
    "wait_ready",
    "ready",
    "ready_timeout",
    "listen_wait",
    "min_uptime",
    "kill_timeout",
    "drain_timeout",
    "drain_idle",
    "sticky_wait",
    "hang_timeout",
    "leak_window",
    "stop_signal",
    "restart",
    "start_retries",
    "max_restarts",
    "restart_window",
    "backoff_min",
    "backoff_max",
    "backoff_reset",
    "pool",
];

const BALANCES: [(&str, Balance); 5] = [
    ("round-robin", Balance::RoundRobin),
    ("sticky", Balance::Sticky),
    ("least-connections", Balance::LeastConnections),
    ("hash", Balance::Hash),
    ("shared", Balance::Shared),
];
const ENGINES: [(&str, Engine); 3] =
    [("auto", Engine::Auto), ("kernel", Engine::Kernel), ("primary", Engine::Primary)];
const READY_RULES: [(&str, ReadyRule); 4] = [
    ("auto", ReadyRule::Auto),
    ("listen", ReadyRule::Listen),
    ("notify", ReadyRule::Notify),
    ("uptime", ReadyRule::Uptime),
];
const RESTARTS: [(&str, RestartOn); 3] = [
    ("always", RestartOn::Always),
    ("on-failure", RestartOn::Failure),
    ("never", RestartOn::Never),
];

/// Where the keys of an app stand in the file.
pub(super) struct Places {
    pub(super) values: BTreeMap<String, Range<usize>>,
    header: Range<usize>,
    /// Whether every key was understood.
    pub(super) complete: bool,
}

impl Places {
    /// The place of a key's value, or of the app where the key is missing.
    pub(super) fn of(&self, key: &str) -> Range<usize> {
        // A script becomes a command, and is then what a fault of the command means.
        let stand_in = if key == "command" { "script" } else { key };
        self.values.get(key).or_else(|| self.values.get(stand_in)).unwrap_or(&self.header).clone()
    }
}

/// One app while its keys are read.
pub(super) struct Draft<'a> {
    pub(super) base: &'a Path,
    header_name: Option<&'a str>,
    pub(super) places: Places,
    pub(super) spec: AppSpec,
    /// The command, whichever of the two keys it came from.
    pub(super) command: Option<Vec<String>>,
    wait_ready: bool,
    /// An unknown key may have been meant to say what to run.
    pub(super) perhaps_command: bool,
}

impl<'a> Draft<'a> {
    pub(super) fn new(base: &'a Path, header: Range<usize>, header_name: Option<&'a str>) -> Self {
        Self {
            base,
            header_name,
            places: Places { values: BTreeMap::new(), header, complete: true },
            spec: AppSpec::new("", Vec::new(), base.to_owned()),
            command: None,
            wait_ready: false,
            perhaps_command: false,
        }
    }

    pub(super) fn read(&mut self, table: &DeTable<'_>, findings: &mut Findings) {
        let before = findings.list.len();
        for (key, span, value) in in_order(table) {
            self.places.values.insert(key.to_owned(), value.span());
            let known = self.what(key, value, findings)
                || self.serving(key, value, findings)
                || self.life(key, value, findings)
                || self.restart(key, value, findings)
                || privileges::read(&mut self.spec, key, value, findings);
            if !known {
                findings.add(span, unknown::message(key));
                let meant = unknown::meant(key);
                self.perhaps_command |= matches!(meant, Some("command" | "script" | "app"));
            }
        }
        self.places.complete = findings.list.len() == before;
    }

    /// The keys that say what runs, where and as whom.
    pub(super) fn what(&mut self, key: &str, value: &Written<'_>, findings: &mut Findings) -> bool {
        match key {
            "name" => self.name(value, findings),
            "command" => self.command(value, findings),
            "script" => {
                if let Some(text) = findings.text(key, value) {
                    let found = command::for_file(&self.base.join(text));
                    self.command = findings.keep(key, value, found);
                }
            }
            "cwd" => {
                if let Some(text) = findings.text(key, value) {
                    self.spec.cwd = self.base.join(text);
                }
            }
            "env" => self.env(value, findings),
            "instances" => {
                if let Some(text) = findings.text_or_integer(key, value) {
                    let instances = findings.keep(key, value, text.parse::<Instances>());
                    self.spec.instances = instances.unwrap_or(self.spec.instances);
                }
            }
            "pool" => self.pools(value, findings),
            "shared" => self.spec.shared = shared::read(key, value, findings),
            "user" => self.spec.user = findings.text_or_integer(key, value),
            "group" => self.spec.group = findings.text_or_integer(key, value),
            _ => return false,
        }
        true
    }

    /// The keys that say which addresses are served and how.
    fn serving(&mut self, key: &str, value: &Written<'_>, findings: &mut Findings) -> bool {
        let spec = &mut self.spec;
        match key {
            "listen" => spec.listen = listen(value, findings),
            "balance" => findings.choice(key, value, &BALANCES, &mut spec.balance),
            "engine" => findings.choice(key, value, &ENGINES, &mut spec.engine),
            "proxy_protocol" => findings.flag(key, value, &mut spec.proxy_protocol),
            "intercept" => findings.flag(key, value, &mut spec.intercept),
            "node" => findings.flag(key, value, &mut spec.node),
            "node_metrics" => findings.flag(key, value, &mut spec.node_metrics),
            "passthrough" => {
                for (item, text) in items(key, value, findings) {
                    match text.parse::<AddressPattern>() {
                        Ok(pattern) => spec.passthrough.push(pattern),
                        Err(error) => findings.add(item.span(), error.to_string()),
                    }
                }
            }
            _ => return false,
        }
        true
    }

    /// The keys of a worker's life.
    pub(super) fn life(&mut self, key: &str, value: &Written<'_>, findings: &mut Findings) -> bool {
        let times = &mut self.spec.times;
        match key {
            "wait_ready" => findings.flag(key, value, &mut self.wait_ready),
            "ready" => findings.choice(key, value, &READY_RULES, &mut self.spec.ready),
            "ready_timeout" => findings.duration(key, value, &mut times.ready_timeout),
            "listen_wait" => findings.duration(key, value, &mut times.listen_wait),
            "min_uptime" => findings.duration(key, value, &mut times.min_uptime),
            "kill_timeout" => findings.duration(key, value, &mut times.kill_timeout),
            "drain_timeout" => findings.duration(key, value, &mut times.drain_timeout),
            "drain_idle" => findings.duration(key, value, &mut times.drain_idle),
            "sticky_wait" => findings.duration(key, value, &mut times.sticky_wait),
            "hang_timeout" => findings.duration(key, value, &mut times.hang_timeout),
            "leak_window" => findings.duration(key, value, &mut times.leak_window),
            "stop_signal" => {
                if let Some(text) = findings.text_or_integer(key, value) {
                    let number = signal::number(&text)
                        .ok_or("expected the name of a signal such as \"TERM\", or 1 to 64");
                    let number = findings.keep(key, value, number);
                    self.spec.stop_signal = number.unwrap_or(self.spec.stop_signal);
                }
            }
            _ => return false,
        }
        true
    }

    /// The keys that say what follows a death.
    fn restart(&mut self, key: &str, value: &Written<'_>, findings: &mut Findings) -> bool {
        let restart = &mut self.spec.restart;
        match key {
            "restart" => findings.choice(key, value, &RESTARTS, &mut restart.on),
            "start_retries" => findings.whole(key, value, 1, &mut restart.start_retries),
            "max_restarts" => findings.whole(key, value, 1, &mut restart.max_restarts),
            "restart_window" => findings.duration(key, value, &mut restart.window),
            "backoff_min" => findings.duration(key, value, &mut restart.backoff_min),
            "backoff_max" => findings.duration(key, value, &mut restart.backoff_max),
            "backoff_reset" => findings.duration(key, value, &mut restart.backoff_reset),
            _ => return false,
        }
        true
    }

    fn name(&mut self, value: &Written<'_>, findings: &mut Findings) {
        if let Some(header) = self.header_name {
            let message = format!("the app is called {header:?} by its table: remove \"name\"");
            return findings.add(value.span(), message);
        }
        let Some(text) = findings.text("name", value) else { return };
        match name::check(&text) {
            Ok(()) => self.spec.name = text,
            Err(message) => findings.add(value.span(), message),
        }
    }

    fn command(&mut self, value: &Written<'_>, findings: &mut Findings) {
        self.command = match value.get_ref() {
            DeValue::String(line) => findings.keep("command", value, command::split(line)),
            DeValue::Array(_) => findings.texts("command", value),
            _ => {
                let message = "command must be a string or an array of strings";
                return findings.add(value.span(), message);
            }
        };
        let Some(words) = &self.command else { return };
        if words.first().is_none_or(String::is_empty) {
            findings.add(value.span(), "the command is empty: write the program to run");
        } else if words.iter().any(|word| word.contains('\0')) {
            findings.add(value.span(), "the command contains a NUL, which no argument can hold");
        }
    }

    fn env(&mut self, value: &Written<'_>, findings: &mut Findings) {
        let Some(table) = findings.table("env", value) else { return };
        for (key, span, value) in in_order(table) {
            let Some(text) = findings.scalar(&format!("env.{key}"), value) else { continue };
            match environment::check(key, &text) {
                Ok(()) => drop(self.spec.env.insert(key.to_owned(), text)),
                Err(message) => findings.add(span, message),
            }
        }
    }

    /// One of two keys must say it.
    pub(super) fn what_to_run(&self, findings: &mut Findings) {
        let has = |key: &str| self.places.values.contains_key(key);
        if has("command") && has("script") {
            let message = "\"command\" and \"script\" both say what to run: remove one of them";
            findings.add(self.places.values["script"].clone(), message);
        }
        if !has("command") && !has("script") && !self.perhaps_command {
            let message = "nothing says what to run: add a \"command\" or a \"script\"";
            findings.add(self.places.header.clone(), message);
        }
    }

    /// Fills in what depends on several keys.
    pub(super) fn finish(mut self, cpus: &Cpus, findings: &mut Findings) -> (AppSpec, Places) {
        let before = findings.list.len();
        self.what_to_run(findings);
        let has = |key: &str| self.places.values.contains_key(key);
        self.spec.command = self.command.unwrap_or_default();
        if let Some(header) = self.header_name {
            self.spec.name = header.to_owned();
            if let Err(message) = name::check(header) {
                findings.add(self.places.header.clone(), message);
            }
        } else if self.spec.name.is_empty() {
            self.spec.name = name::from_command(&self.spec.command);
        }
        if self.wait_ready {
            if has("ready") && self.spec.ready != ReadyRule::Notify {
                let message = "wait_ready = true means ready = \"notify\": remove one of them";
                findings.add(self.places.values["wait_ready"].clone(), message);
            }
            self.spec.ready = ReadyRule::Notify;
        }
        self.spec.resolve(cpus);
        self.places.complete &= findings.list.len() == before;
        (self.spec, self.places)
    }
}

/// A string or an array of strings, each with its place.
pub(super) fn items<'t, 'i>(
    key: &str,
    value: &'t Written<'i>,
    findings: &mut Findings,
) -> Vec<(&'t Written<'i>, String)> {
    let values: Vec<_> = match value.get_ref() {
        DeValue::Array(items) => items.iter().collect(),
        _ => vec![value],
    };
    values
        .into_iter()
        .filter_map(|item| Some((item, findings.text_or_integer(key, item)?)))
        .collect()
}

/// An address, an array of addresses, or a table of names and addresses.
fn listen(value: &Written<'_>, findings: &mut Findings) -> Vec<ListenSpec> {
    let read: Vec<_> = if let DeValue::Table(table) = value.get_ref() {
        in_order(table)
            .into_iter()
            .filter_map(|(name, _, value)| {
                let text = findings.text_or_integer(&format!("listen.{name}"), value)?;
                Some((value.span(), address::named(name, &text)))
            })
            .collect()
    } else {
        let items = items("listen", value, findings).into_iter();
        items.map(|(item, text)| (item.span(), address::listen(&text))).collect()
    };
    let (mut found, mut spans) = (Vec::new(), Vec::new());
    for (span, result) in read {
        match result {
            Ok(spec) => {
                found.push(spec);
                spans.push(span);
            }
            Err(error) => findings.add(span, error.to_string()),
        }
    }
    if let Some((index, message)) = address::duplicate(&found) {
        findings.add(spans[index].clone(), message);
    }
    found
}
