//! The flags that `start` was given beside a file: they go before the keys of the file, now and
//! whenever the file is read again.
//!
//! They refuse nothing that is well written: [`crate::validate`] looks at the finished spec.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::cpus::Cpus;
use crate::keys::{self, Key, suggest};
use crate::spec::{AppSpec, Overrides};

/// The variables of the pools on the wire.
const POOL_ENV: &str = "pool_env";

impl Default for Overrides {
    /// No flag at all.
    fn default() -> Self {
        let values = Box::new(AppSpec::blank());
        Self { keys: BTreeSet::new(), values, pool_env: BTreeMap::new() }
    }
}

impl Overrides {
    /// The flags of these keys, with these values.
    ///
    /// # Errors
    ///
    /// Why there is no such key, or why it cannot have the value.
    pub fn of(flags: &[(&str, &str)]) -> Result<Self, String> {
        let mut overrides = Self::default();
        for (name, text) in flags {
            let key = keys::find(name).ok_or_else(|| suggest::message(name))?;
            overrides.add(key, text)?;
        }
        Ok(overrides)
    }

    /// Adds the flag of `key` with this value; a switch has the value that it sets.
    ///
    /// # Errors
    ///
    /// Why the key cannot have the value.
    pub fn add(&mut self, key: &Key, text: &str) -> Result<(), String> {
        key.kind.parse(text, &mut self.values)?;
        self.keys.insert(key.stands_for.unwrap_or(key.name));
        Ok(())
    }

    /// Adds variables for the app's own workers, or for those of a pool.
    pub fn add_env(&mut self, pool: Option<&str>, pairs: &[(String, String)]) {
        if pairs.is_empty() {
            return;
        }
        if let Some(pool) = pool {
            self.pool_env.entry(pool.to_owned()).or_default().extend(pairs.iter().cloned());
        } else {
            self.keys.insert("env");
            self.values.env.extend(pairs.iter().cloned());
        }
    }

    /// Lets the paths start at this folder.
    pub fn start_at(&mut self, folder: &Path) {
        self.values.cwd = folder.join(&self.values.cwd);
    }

    /// Whether the key of this name is set.
    pub fn has(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    /// The app's name, if it is set.
    pub fn name(&self) -> Option<&str> {
        self.has("name").then_some(&self.values.name)
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.pool_env.is_empty()
    }

    /// Puts all that is set over a spec.
    pub fn apply(&self, spec: &mut AppSpec, cpus: &Cpus) {
        for key in self.set() {
            key.kind.put(&self.values, spec);
        }
        for pool in &mut spec.pools {
            let env = self.pool_env.get(&pool.name).into_iter().flatten();
            pool.env.extend(env.map(|(key, value)| (key.clone(), value.clone())));
        }
        if self.has("instances") {
            let resolved = spec.instances.resolve(cpus);
            (spec.wanted, spec.wanted_because) = (resolved.count, resolved.because);
        }
    }

    /// Puts all that is set over a spec from a file, and keeps it there.
    pub fn attach(self, spec: &mut AppSpec, cpus: &Cpus) {
        self.apply(spec, cpus);
        spec.overrides = (!self.is_empty()).then(|| Box::new(self));
    }

    /// The flags, for people: without the values of variables, which may be secrets.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        for key in self.set() {
            let (Some(name), Some(flag)) = (key.flag_name(), key.flag) else { continue };
            match flag.shown {
                Some(shown) => {
                    flags.extend(shown(&self.values).iter().map(|text| format!("--{name} {text}")));
                }
                None => flags.push(format!("--{name}")),
            }
        }
        for (pool, env) in &self.pool_env {
            flags.extend(env.keys().map(|key| format!("--env {key} (pool {pool})")));
        }
        flags
    }

    /// Hides what not everybody may see.
    pub fn redact(&mut self, hidden: &str) {
        self.values.redact(hidden);
        for value in self.pool_env.values_mut().flat_map(BTreeMap::values_mut) {
            hidden.clone_into(value);
        }
    }

    /// The keys that are set.
    fn set(&self) -> impl Iterator<Item = &'static Key> {
        keys::all().filter(|key| self.keys.contains(key.name))
    }
}

impl AppSpec {
    /// Hides what not everybody may see, here and in the overrides: values of variables become
    /// `hidden`, the shared values go.
    pub fn redact(&mut self, hidden: &str) {
        for redact in keys::all().filter_map(|key| key.redact) {
            redact(self, hidden);
        }
        for value in self.pools.iter_mut().flat_map(|pool| pool.env.values_mut()) {
            hidden.clone_into(value);
        }
        let inherited = self.inherited.iter_mut().flat_map(BTreeMap::values_mut);
        for value in self.variables.values_mut().flatten().chain(inherited) {
            hidden.clone_into(value);
        }
        if let Some(overrides) = &mut self.overrides {
            overrides.redact(hidden);
        }
    }
}

/// Where on the wire the value of a key is: some are in an object of this name, because the builds
/// that the other end may be have always had them there.
fn object_of(key: &Key) -> Option<&'static str> {
    let in_section = |name| keys::is_in(key, name);
    if in_section("privileges") || matches!(key.name, "user" | "group") {
        Some("rights")
    } else if in_section("life") && !matches!(key.name, "ready" | "stop_signal" | "stop_message") {
        Some("times")
    } else {
        None
    }
}

/// The name of the value on the wire. A switch that sets `false` is there as `no_KEY = true`.
fn wire_name(key: &Key) -> String {
    match key.flag {
        Some(flag) if flag.negated => format!("no_{}", key.name),
        _ => key.name.to_owned(),
    }
}

impl Serialize for Overrides {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = Map::new();
        for key in self.set() {
            let value = match key.flag {
                Some(flag) if flag.negated => Value::Bool(true),
                _ => key.kind.wire_value(&self.values).map_err(S::Error::custom)?,
            };
            let object = match object_of(key) {
                None => &mut fields,
                Some(name) => {
                    let object = fields.entry(name).or_insert_with(|| Value::Object(Map::new()));
                    object.as_object_mut().ok_or_else(|| S::Error::custom("a key is an object"))?
                }
            };
            object.insert(wire_name(key), value);
        }
        if !self.pool_env.is_empty() {
            let value = serde_json::to_value(&self.pool_env).map_err(S::Error::custom)?;
            fields.insert(POOL_ENV.to_owned(), value);
        }
        fields.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Overrides {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        let mut read = Self::default();
        if let Some(value) = fields.remove(POOL_ENV) {
            read.pool_env = serde_json::from_value(value).map_err(D::Error::custom)?;
        }
        for key in keys::all().filter(|key| key.flag.is_some() && key.stands_for.is_none()) {
            let object = match object_of(key) {
                None => Some(&mut fields),
                Some(name) => fields.get_mut(name).and_then(Value::as_object_mut),
            };
            let Some(value) = object.and_then(|object| object.remove(&wire_name(key))) else {
                continue;
            };
            if is_unset(&value) {
                continue;
            }
            let value = match key.flag {
                Some(flag) if flag.negated => Value::Bool(false),
                _ => value,
            };
            key.kind.set_from_wire(value, &mut read.values).map_err(D::Error::custom)?;
            read.keys.insert(key.name);
        }
        Ok(read)
    }
}

/// Builds that have a field for each flag write these for a flag that was not given.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::spec::{Instances, PoolSpec, ReadyRule, RestartOn};

    #[test]
    fn flags_go_before_the_file_and_are_remembered() {
        let mut file = AppSpec::new("web", vec!["serve".into()], "/srv".into());
        file.env = [("A", "file"), ("B", "file")].map(|(k, v)| (k.into(), v.into())).into();
        file.pools.push(PoolSpec::new("hash", vec!["hasher".into()]));
        file.stop_signal = 2;
        let flags = [("instances", "3"), ("env", "B=said"), ("kill_timeout", "1s"), ("nice", "7")];
        let mut overrides = Overrides::of(&flags).unwrap();
        overrides.add_env(Some("hash"), &[("C".to_owned(), "pool".to_owned())]);
        overrides.add_env(Some("gone"), &[("D".to_owned(), "pool".to_owned())]);
        let mut spec = file.clone();
        overrides.clone().attach(&mut spec, &Cpus::read());
        assert_eq!((spec.env["A"].as_str(), spec.env["B"].as_str()), ("file", "said"));
        assert_eq!(spec.pools[0].env["C"], "pool");
        assert_eq!((spec.wanted, spec.stop_signal, spec.privileges.nice), (3, 2, Some(7)));
        assert_eq!(spec.times.kill_timeout, Duration::from_secs(1));
        let mut flags = overrides.flags();
        flags.sort();
        assert_eq!(
            flags,
            [
                "--env B",
                "--env C (pool hash)",
                "--env D (pool gone)",
                "--instances 3",
                "--kill-timeout",
                "--nice"
            ]
        );
        assert_eq!(spec.overrides.as_deref(), Some(&overrides));
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<AppSpec>(&json).unwrap(), spec);
        assert!(!json.contains("\"overrides\""), "older builds call it otherwise: {json}");
    }

    #[test]
    fn no_flag_changes_nothing() {
        let file = AppSpec::new("web", vec!["serve".into()], "/srv".into());
        let mut spec = file.clone();
        Overrides::default().attach(&mut spec, &Cpus::read());
        assert_eq!(spec, file);
        assert!(!serde_json::to_string(&spec).unwrap().contains("said"));
    }

    /// What builds before the table of keys write: a field for each flag.
    const OLD: &str = r#"{
        "env": {"A": "1"}, "pool_env": {"hash": {"B": "2"}}, "cwd": "/srv", "instances": "max",
        "listen": [{"name": "web", "address": {"tcp": "127.0.0.1:80"}}],
        "passthrough": [{"ip": null, "port": 9229}], "balance": "sticky", "engine": null,
        "proxy_protocol": true, "no_intercept": false, "no_node": true, "no_node_metrics": false,
        "ready": "uptime", "stop_signal": 2, "restart": "failure",
        "times": {
            "ready_timeout": null, "listen_wait": null, "min_uptime": {"secs": 1, "nanos": 5},
            "kill_timeout": null, "drain_timeout": null, "drain_idle": null, "sticky_wait": null,
            "hang_timeout": null, "leak_window": {"secs": 0, "nanos": 0}
        },
        "rights": {
            "user": "www", "group": null, "groups": ["video"], "umask": 23, "nice": -5,
            "oom_score_adj": null, "no_new_privs": true,
            "limits": {"core": {"soft": 0, "hard": 1}}, "operators": null, "observers": "o"
        }
    }"#;

    #[test]
    fn overrides_of_older_builds_are_read_and_written_in_their_shape() {
        let read: Overrides = serde_json::from_str(OLD).unwrap();
        let mut spec = AppSpec::new("web", vec!["serve".into()], "/".into());
        read.apply(&mut spec, &Cpus::read());
        assert_eq!((spec.env["A"].as_str(), spec.cwd.to_str()), ("1", Some("/srv")));
        assert_eq!((spec.instances, spec.listen.len()), (Instances::Max, 1));
        assert!(spec.proxy_protocol && spec.intercept && !spec.node && spec.node_metrics);
        assert_eq!((spec.ready, spec.stop_signal), (ReadyRule::Uptime, 2));
        assert_eq!(spec.restart.on, RestartOn::Failure);
        assert_eq!(spec.times.min_uptime, Duration::new(1, 5));
        assert_eq!(spec.times.leak_window, Duration::ZERO);
        assert_eq!(spec.times.kill_timeout, Duration::from_secs(10));
        assert_eq!((spec.user.as_deref(), spec.group.as_deref()), (Some("www"), None));
        assert_eq!((spec.privileges.umask, spec.privileges.nice), (Some(23), Some(-5)));
        assert_eq!(spec.observers.as_deref(), Some("o"));
        let mut old: Value = serde_json::from_str(OLD).unwrap();
        prune(&mut old);
        assert_eq!(serde_json::to_value(&read).unwrap(), old);
    }

    fn prune(value: &mut Value) {
        if let Value::Object(entries) = value {
            entries.values_mut().for_each(prune);
            entries.retain(|_, value| !is_unset(value));
        }
    }

    #[test]
    fn broken_overrides_are_refused() {
        for broken in [
            json!({ "times": { "leak_window": "soon" } }),
            json!({ "env": 3 }),
            json!({ "pool_env": [1] }),
            json!([]),
        ] {
            assert!(serde_json::from_value::<Overrides>(broken.clone()).is_err(), "{broken}");
        }
    }

    #[test]
    fn secrets_are_hidden() {
        let mut spec = AppSpec::new("web", vec!["serve".into()], "/srv".into());
        spec.shared = Some("\"hunter2\"".to_owned());
        spec.env.insert("A".to_owned(), "hunter2".to_owned());
        spec.variables.insert("A".to_owned(), Some("hunter2".to_owned()));
        spec.inherited = Some([("A".to_owned(), "hunter2".to_owned())].into());
        let mut pool = PoolSpec::new("hash", vec!["hasher".into()]);
        pool.env.insert("A".to_owned(), "hunter2".to_owned());
        spec.pools.push(pool);
        let mut overrides = Overrides::of(&[("env", "B=hunter2")]).unwrap();
        overrides.add_env(Some("hash"), &[("C".to_owned(), "hunter2".to_owned())]);
        overrides.attach(&mut spec, &Cpus::read());
        assert!(!format!("{:?}", spec.overrides.as_ref().unwrap().flags()).contains("hunter2"));
        spec.redact("<redacted>");
        assert!(!serde_json::to_string(&spec).unwrap().contains("hunter2"));
        assert_eq!(spec.env["B"], "<redacted>");
    }
}
