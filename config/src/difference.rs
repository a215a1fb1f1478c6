//! In what the wanted spec of an app differs from the running one, key by key, and what it takes
//! for each difference to have an effect.
//!
//! The table of keys says both. A key whose value may be a secret is compared entry by entry, and
//! only the names of the entries are kept: `env.TOKEN`.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use crate::keys::{self, Change, Key};
use crate::spec::{AppSpec, Instances, PoolSpec};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyChange {
    /// `balance`, `env.TOKEN`, `pool.hash.command`, or `pool.hash` for a whole pool.
    pub key: String,
    /// What happens to it.
    pub verb: Verb,
    /// The running value. Absent: nothing is set, or it may be a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// The wanted value. Absent: nothing is set, or it may be a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
    /// What the change takes.
    #[serde(skip)]
    pub takes: Change,
}

/// What happens to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Only the wanted spec has it.
    Added,
    /// Only the running spec has it.
    Removed,
    /// Both have it, with different values.
    Changed,
}

impl Verb {
    fn of<T>(from: Option<&T>, to: Option<&T>) -> Self {
        match (from, to) {
            (None, Some(_)) => Self::Added,
            (Some(_), None) => Self::Removed,
            (None, None) | (Some(_), Some(_)) => Self::Changed,
        }
    }
}

/// Every difference, in the order of the table of keys; those of pools come last.
pub fn between(running: &AppSpec, wanted: &AppSpec) -> Vec<KeyChange> {
    let mut changes = Vec::new();
    let own = keys::all().filter(|key| key.stands_for.is_none());
    of_keys(own, "", running, wanted, &mut changes);
    counts("", running, wanted, &mut changes);
    let pools = running.pools.iter().chain(&wanted.pools);
    let names: BTreeSet<&String> = pools.map(|pool| &pool.name).collect();
    for name in names {
        let pool = |spec: &AppSpec| spec.pools.iter().find(|pool| pool.name == *name).map(alone);
        let prefix = format!("pool.{name}.");
        match (pool(running), pool(wanted)) {
            (Some(running), Some(wanted)) => {
                let own = keys::of_pool().filter(|key| key.stands_for.is_none());
                of_keys(own, &prefix, &running, &wanted, &mut changes);
                counts(&prefix, &running, &wanted, &mut changes);
            }
            (from, to) => changes.push(KeyChange {
                key: format!("pool.{name}"),
                verb: Verb::of(from.as_ref(), to.as_ref()),
                from: None,
                to: None,
                takes: Change::Reload,
            }),
        }
    }
    changes
}

/// Has `running` say what `wanted` says, as far as no worker depends on it: the keys whose change
/// takes nothing, the number of workers as it is asked for (not the number that runs), and where
/// the app comes from.
pub fn adopt(running: &mut AppSpec, wanted: &AppSpec) {
    for key in keys::all().filter(|key| key.change == Change::Nothing) {
        key.kind.put(wanted, running);
    }
    running.instances = wanted.instances;
    for pool in &mut running.pools {
        let same = wanted.pools.iter().find(|wanted| wanted.name == pool.name);
        pool.instances = same.map_or(pool.instances, |wanted| wanted.instances);
    }
    running.source.clone_from(&wanted.source);
    running.profile.clone_from(&wanted.profile);
    running.variables.clone_from(&wanted.variables);
    running.overrides.clone_from(&wanted.overrides);
}

/// What all these changes take together. `None`: there is no change.
pub fn takes(changes: &[KeyChange]) -> Option<Change> {
    changes.iter().map(|change| change.takes).max()
}

fn of_keys(
    keys: impl Iterator<Item = &'static Key>,
    prefix: &str,
    running: &AppSpec,
    wanted: &AppSpec,
    changes: &mut Vec<KeyChange>,
) {
    let differs = |key: &&Key| {
        key.kind.differs(running, wanted)
            && !(key.change == Change::Scale && runs_as_counted(running, wanted))
    };
    for key in keys.filter(differs) {
        let (from, to) = (key.kind.shown(running), key.kind.shown(wanted));
        let name = format!("{prefix}{}", key.name);
        if key.redact.is_some() {
            entries(&name, key.change, from.as_ref(), to.as_ref(), changes);
        } else {
            let verb = Verb::of(from.as_ref(), to.as_ref());
            changes.push(KeyChange { key: name, verb, from, to, takes: key.change });
        }
    }
}

/// The differences of a table whose values may be secrets.
fn entries(
    name: &str,
    takes: Change,
    from: Option<&Value>,
    to: Option<&Value>,
    changes: &mut Vec<KeyChange>,
) {
    let table = |value: Option<&Value>| value.and_then(Value::as_object).cloned();
    let (from, to) = (table(from).unwrap_or_default(), table(to).unwrap_or_default());
    let names: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    for entry in names {
        let (from, to) = (from.get(entry), to.get(entry));
        if from != to {
            let key = format!("{name}.{entry}");
            changes.push(KeyChange { key, verb: Verb::of(from, to), from: None, to: None, takes });
        }
    }
}

/// Whether just the number of workers runs that is wanted as a plain number: it does not matter how
/// it came to be.
fn runs_as_counted(running: &AppSpec, wanted: &AppSpec) -> bool {
    matches!(wanted.instances, Instances::Count(_)) && running.wanted == wanted.wanted
}

/// The number of workers can differ where the key does not: `scale` sets it by hand, and the usable
/// CPUs decide what `max` is. Within a range it follows the load.
fn counts(prefix: &str, running: &AppSpec, wanted: &AppSpec, changes: &mut Vec<KeyChange>) {
    let goes_on = wanted.instances.going_on_from(running.wanted, wanted.wanted);
    if running.instances == wanted.instances && running.wanted != goes_on {
        changes.push(KeyChange {
            key: format!("{prefix}instances"),
            verb: Verb::Changed,
            from: Some(running.wanted.into()),
            to: Some(wanted.wanted.into()),
            takes: Change::Scale,
        });
    }
}

/// The keys of a pool, in a spec in which nothing else is set.
pub(crate) fn alone(pool: &PoolSpec) -> AppSpec {
    AppSpec {
        command: pool.command.clone(),
        cwd: pool.cwd.clone().unwrap_or_default(),
        env: pool.env.clone(),
        instances: pool.instances,
        wanted: pool.wanted,
        user: pool.user.clone(),
        group: pool.group.clone(),
        ready: pool.ready,
        ..AppSpec::blank()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> AppSpec {
        AppSpec::new("web", vec!["serve".into()], "/srv".into())
    }

    fn shown(running: &AppSpec, wanted: &AppSpec) -> Vec<String> {
        let changes = between(running, wanted).into_iter();
        let text = |value: Option<Value>| value.map_or_else(|| "-".into(), |v| v.to_string());
        let shown = changes.map(|KeyChange { key, verb, from, to, takes }| {
            format!("{key} {verb:?} {} {} {takes:?}", text(from), text(to))
        });
        shown.collect()
    }

    #[test]
    fn equal_specs_do_not_differ() {
        assert_eq!(between(&spec(), &spec()), []);
        assert_eq!(takes(&[]), None);
    }

    #[test]
    fn each_difference_says_what_it_takes() {
        let mut wanted = spec();
        wanted.command.push("fast".into());
        wanted.env.insert("TOKEN".into(), "hunter2".into());
        wanted.shared = Some("{\"limits\":{\"rate\":3}}".into());
        wanted.autostart = false;
        (wanted.instances, wanted.wanted) = (Instances::Count(3), 3);
        let mut running = spec();
        running.env.insert("OLD".into(), "hunter2".into());
        assert_eq!(
            shown(&running, &wanted),
            [
                "command Changed [\"serve\"] [\"serve\",\"fast\"] Reload",
                "env.OLD Removed - - Reload",
                "env.TOKEN Added - - Reload",
                "instances Changed 1 3 Scale",
                "autostart Changed true false Nothing",
                "shared.limits Added - - Config",
            ]
        );
        assert_eq!(takes(&between(&running, &wanted)), Some(Change::Reload));
    }

    #[test]
    fn a_number_that_scale_set_is_a_difference() {
        let running = AppSpec { wanted: 5, ..spec() };
        assert_eq!(shown(&running, &spec()), ["instances Changed 5 1 Scale"]);
        let counted = AppSpec { instances: Instances::Count(5), ..running.clone() };
        assert_eq!(between(&running, &counted), []);
        let max = AppSpec { instances: Instances::Max, ..running.clone() };
        assert_eq!(shown(&running, &max), ["instances Changed 1 \"max\" Scale"]);
        let ranged = |wanted| AppSpec {
            instances: Instances::Between { min: 2, max: 8 },
            wanted,
            ..running.clone()
        };
        assert_eq!(between(&ranged(5), &ranged(2)), [], "the load decides");
        assert_eq!(shown(&ranged(9), &ranged(2)), ["instances Changed 9 2 Scale"]);
    }

    #[test]
    fn what_no_worker_depends_on_is_adopted() {
        let mut wanted = spec();
        (wanted.instances, wanted.wanted) = (Instances::Count(3), 3);
        wanted.autostart = false;
        wanted.source = Some("/srv/web.toml".into());
        let mut running = spec();
        adopt(&mut running, &wanted);
        assert_eq!(shown(&running, &wanted), ["instances Changed 1 3 Scale"]);
        running.wanted = 3;
        assert_eq!(AppSpec { wanted_because: running.wanted_because.clone(), ..wanted }, running);
    }

    #[test]
    fn pools_differ_by_themselves() {
        let mut running = spec();
        running.pools.push(PoolSpec::new("hash", vec!["hasher".into()]));
        let mut wanted = running.clone();
        wanted.env.insert("A".into(), "1".into());
        (wanted.pools[0].instances, wanted.pools[0].wanted) = (Instances::Count(2), 2);
        wanted.pools.push(PoolSpec::new("mail", vec!["mailer".into()]));
        assert_eq!(
            shown(&running, &wanted),
            [
                "env.A Added - - Reload",
                "pool.hash.instances Changed 1 2 Scale",
                "pool.mail Added - - Reload"
            ]
        );
    }

    /// A key that this misses would never be applied.
    #[test]
    fn every_key_with_an_example_is_found() {
        let file = std::path::Path::new("/srv/f.toml");
        let cpus = crate::cpus::Cpus::read();
        let text = "name = \"web\"\ncommand = \"serve\"\n";
        let plain = crate::parse(text, file, &cpus).unwrap().remove(0);
        for key in keys::all().filter(|key| key.stands_for.is_none() && key.name != "command") {
            let Some(example) = key.example.filter(|example| *example != "\".\"") else { continue };
            let text = format!("{text}{} = {example}\n", key.name);
            let other = crate::parse(&text, file, &cpus).unwrap().remove(0);
            let found = between(&plain, &other);
            let keys = found.iter().map(|change| change.key.split('.').next().unwrap());
            assert!(keys.clone().all(|name| name == key.name) && keys.count() > 0, "{}", key.name);
        }
    }
}
