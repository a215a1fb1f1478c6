//! What a `reload` or `restart` changes of a running app: its file is read again, the overrides of
//! the command line stay, and the command may add variables.
//!
//! The primary merges a change onto the spec that stands when the change's turn comes, so that two
//! commands at once cannot undo each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cpus::Cpus;
use crate::keys;
use crate::pool::OWN;
use crate::spec::AppSpec;
use crate::{Format, Reader};

/// A change of a running app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct SpecChange {
    /// The configuration file to read, absolute. Absent: the file that the app came from.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// The profile of the file. Absent: the one that the app was started with.
    #[serde(default)]
    pub profile: Option<String>,
    /// What the file exports, as JSON, if it is a program: the command line has evaluated it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exports: Option<String>,
    /// The app as the command line has read it from the file. Then the file is not read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Written>,
    /// What the workers inherit from now on, and what the file's variables stand for: the
    /// environment of the command. Absent: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherited: Option<BTreeMap<String, String>>,
    /// The values that the variables of the file had when the command line read it; `None`: not
    /// set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, Option<String>>,
    /// Variables for the new workers.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// The pool that gets the variables. Absent: the app's own workers.
    #[serde(default)]
    pub pool: Option<String>,
    /// Drop the overrides: from now on only the file counts.
    #[serde(default)]
    pub as_written: bool,
}

/// An app as its file describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct Written {
    /// What the file says, with every default.
    pub spec: Box<AppSpec>,
    /// The pools whose `instances` the file names, the app's own as `default`. The others keep the
    /// number of workers that they have.
    #[serde(default)]
    pub counted: BTreeSet<String>,
}

impl SpecChange {
    /// The file to read for the app that runs with this spec, if the app has one.
    pub fn source<'a>(&'a self, running: &'a AppSpec) -> Option<&'a Path> {
        self.file.as_deref().or(running.source.as_deref())
    }

    /// Reads the file, and merges the app in it with `running` and this change. `None`: the change
    /// is empty. Reads the disk.
    ///
    /// # Errors
    ///
    /// What is wrong with the file or the change.
    pub fn read(&self, running: &AppSpec, cpus: &Cpus) -> Result<Option<AppSpec>, String> {
        if self.written.is_some() {
            return self.merge(None, running, cpus);
        }
        let Some(source) = self.source(running) else { return self.merge(None, running, cpus) };
        let profile = self.profile.as_deref().or(running.profile.as_deref());
        let reader = self.reader(running, cpus).profile(profile);
        let found = match &self.exports {
            Some(exports) => reader.evaluated(exports, source),
            None if Format::of(source).is_none() => {
                return Err(format!(
                    "{} is a program, which only a command of the app's own user evaluates",
                    source.display()
                ));
            }
            None => reader.load(source),
        };
        let found = found.map_err(|report| report.to_string().trim_end().to_owned())?;
        let written = found.apps.into_iter().find(|spec| spec.name == running.name);
        let Some(written) = written else {
            return Err(format!(
                "{name} is no longer in {}: put it back, or \"supervisor delete {name}\"",
                source.display(),
                name = running.name
            ));
        };
        self.merge(Some(written), running, cpus)
    }

    /// Reads the file with the environment that this change brings. If it brings none, with that
    /// which the workers inherit, and with the values that the file's variables had when a person
    /// had it read last: `apply` may have changed them.
    fn reader(&self, running: &AppSpec, cpus: &Cpus) -> Reader {
        let reader = Reader::new(cpus);
        if let Some(environment) = &self.inherited {
            return reader.in_environment(environment);
        }
        match &running.inherited {
            Some(environment) => reader.in_environment(environment),
            None => reader,
        }
        .knowing(&running.variables)
        .knowing(&self.variables)
    }

    /// Merges what the file says now (`written`, or what the command line has read), if there is a
    /// file, with `running` and this change. `None`:
    /// there is nothing to change.
    ///
    /// # Errors
    ///
    /// Why the change means nothing for this app.
    pub fn merge(
        &self,
        written: Option<AppSpec>,
        running: &AppSpec,
        cpus: &Cpus,
    ) -> Result<Option<AppSpec>, String> {
        let brought = self.written.as_ref();
        let written = written.or_else(|| brought.map(|written| AppSpec::clone(&written.spec)));
        let Some(mut spec) = written else { return self.without_file(running) };
        if let Some(written) = brought {
            keep_counts(&mut spec, running, &written.counted);
        }
        let before = running.overrides.as_deref().filter(|_| !self.as_written);
        let mut overrides = before.cloned().unwrap_or_default();
        overrides.add_env(self.pool.as_deref(), &self.env);
        overrides.attach(&mut spec, cpus);
        if brought.is_none() {
            keep_scale(&mut spec, running);
        }
        spec.applied = running.applied;
        spec.inherited = self.inherited.as_ref().or(running.inherited.as_ref()).cloned();
        Ok(Some(spec))
    }

    /// The app came from no file: its spec stays, but for the variables.
    fn without_file(&self, running: &AppSpec) -> Result<Option<AppSpec>, String> {
        if self.as_written {
            return Err(format!(
                "{} came from no file, so --as-written means nothing: leave it out",
                running.name
            ));
        }
        if self.env.is_empty() && self.inherited.is_none() {
            return Ok(None);
        }
        let mut spec = running.clone();
        if self.inherited.is_some() {
            spec.inherited.clone_from(&self.inherited);
        }
        let mut pools = spec.pools.iter_mut();
        match pools.find(|pool| self.pool.as_ref() == Some(&pool.name)) {
            Some(pool) => pool.env.extend(self.env.iter().cloned()),
            None => spec.env.extend(self.env.iter().cloned()),
        }
        Ok(Some(spec))
    }
}

/// Keeps the number of workers that `scale` or the load set, unless the file has another number
/// than before.
fn keep_scale(spec: &mut AppSpec, running: &AppSpec) {
    if spec.instances == running.instances {
        spec.wanted = running.wanted;
        spec.wanted_because.clone_from(&running.wanted_because);
    }
    spec.wanted = spec.instances.going_on_from(running.wanted, spec.wanted);
    for pool in &mut spec.pools {
        let before = running.pools.iter().find(|running| running.name == pool.name);
        if let Some(running) = before.filter(|running| running.instances == pool.instances) {
            pool.wanted = running.wanted;
            pool.wanted_because.clone_from(&running.wanted_because);
        }
    }
}

/// Keeps the number of workers of every pool whose number the file does not say.
fn keep_counts(spec: &mut AppSpec, running: &AppSpec, counted: &BTreeSet<String>) {
    if !counted.contains(OWN) {
        (spec.instances, spec.wanted) = (running.instances, running.wanted);
        spec.wanted_because.clone_from(&running.wanted_because);
    }
    for pool in spec.pools.iter_mut().filter(|pool| !counted.contains(&pool.name)) {
        if let Some(running) = running.pools.iter().find(|running| running.name == pool.name) {
            (pool.instances, pool.wanted) = (running.instances, running.wanted);
            pool.wanted_because.clone_from(&running.wanted_because);
        }
    }
}

/// The keys whose value in `spec` differs from the running one, except those that a worker takes
/// over while it runs (`shared`): only a reload can bring the others to the workers.
pub fn keys_that_need_a_reload(running: &AppSpec, mut spec: AppSpec) -> Vec<&'static str> {
    // Older versions did not record the variables of the command line.
    for (key, value) in &running.env {
        spec.env.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let keys = keys::changed(running, &spec).into_iter();
    let keys = keys.filter(|key| key.change != keys::Change::Config);
    let mut others: Vec<&str> = keys.map(|key| key.name).collect();
    if running.pools != spec.pools {
        others.push("pool");
    }
    spec.shared.clone_from(&running.shared);
    spec.variables.clone_from(&running.variables);
    match others.is_empty() && *running != spec {
        true => vec!["something"],
        false => others,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Instances, Overrides, PoolSpec};

    fn spec() -> AppSpec {
        AppSpec::new("web", vec!["true".into()], "/".into())
    }

    fn setting(name: &str) -> SpecChange {
        SpecChange { env: vec![(name.to_owned(), "1".to_owned())], ..SpecChange::default() }
    }

    #[test]
    fn changes_one_after_the_other_keep_what_the_first_set() {
        let merge = |change: SpecChange, written: Option<AppSpec>, running: &AppSpec| {
            change.merge(written, running, &Cpus::read()).unwrap().unwrap()
        };
        let first = merge(setting("A"), Some(spec()), &spec());
        let both = merge(setting("B"), Some(spec()), &first);
        assert!(both.env.contains_key("A") && both.env.contains_key("B"), "{:?}", both.env);
        let written = SpecChange { as_written: true, ..setting("C") };
        let last = merge(written, Some(spec()), &both);
        assert!(last.env.keys().eq(["C"]), "{:?}", last.env);
        let without_file = merge(setting("B"), None, &merge(setting("A"), None, &spec()));
        assert!(without_file.env.keys().eq(["A", "B"]) && without_file.overrides.is_none());
    }

    #[test]
    fn variables_go_to_the_pool_that_is_named() {
        let mut running = spec();
        running.pools.push(PoolSpec::new("hash", vec!["hasher".into()]));
        let change = SpecChange { pool: Some("hash".to_owned()), ..setting("A") };
        for written in [None, Some(running.clone())] {
            let merged = change.merge(written, &running, &Cpus::read()).unwrap().unwrap();
            assert!(merged.env.is_empty() && merged.pools[0].env.contains_key("A"));
        }
    }

    #[test]
    fn an_app_without_a_file_changes_only_by_variables() {
        let empty = SpecChange::default();
        assert_eq!(empty.read(&spec(), &Cpus::read()), Ok(None));
        let written = SpecChange { as_written: true, ..empty };
        assert!(written.read(&spec(), &Cpus::read()).unwrap_err().contains("no file"));
    }

    #[test]
    fn the_file_is_read_as_it_is_now() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("web.toml");
        let mut running = spec();
        running.source = Some(file.clone());
        let read = |change: SpecChange| change.read(&running, &Cpus::read());
        assert!(read(SpecChange::default()).unwrap_err().contains("web.toml"));
        std::fs::write(&file, "command = \"cat\"\nname = \"other\"\n").unwrap();
        assert!(read(SpecChange::default()).unwrap_err().contains("no longer in"));
        std::fs::write(&file, "command = \"cat\"\nname = \"web\"\n").unwrap();
        assert_eq!(read(SpecChange::default()).unwrap().unwrap().command, ["cat"]);
        let elsewhere = SpecChange { file: Some("/gone.toml".into()), ..SpecChange::default() };
        assert!(read(elsewhere).unwrap_err().contains("/gone.toml"));
    }

    #[test]
    fn variables_of_the_file_stay_until_a_change_brings_others() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("web.toml");
        let text = "name = \"web\"\ncommand = \"true\"\n[env]\nA = \"${SURELY_UNSET_A}\"\nB = \
                    \"${SURELY_UNSET_B:-none}\"\nC = \"${SURELY_UNSET_C:-none}\"\n";
        std::fs::write(&file, text).unwrap();
        let mut running = spec();
        running.source = Some(file);
        let read = |change: &SpecChange, running: &AppSpec| {
            change.read(running, &Cpus::read()).map(|spec| spec.unwrap())
        };
        let none = SpecChange::default();
        assert!(read(&none, &running).unwrap_err().contains("is not set"));
        let value = |text: &str| Some(text.to_owned());
        let known = [("SURELY_UNSET_A", value("applied")), ("SURELY_UNSET_B", None)];
        running.variables = known.map(|(name, value)| (name.to_owned(), value)).into();
        let inherited = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            Some(pairs.collect::<BTreeMap<_, _>>())
        };
        running.inherited = inherited(&[
            ("SURELY_UNSET_A", "old"),
            ("SURELY_UNSET_B", "old"),
            ("SURELY_UNSET_C", "c"),
        ]);
        let same = read(&none, &running).unwrap();
        assert_eq!((same.env["A"].as_str(), same.env["B"].as_str()), ("applied", "none"));
        assert_eq!(same.env["C"], "c", "a variable that the file names anew");
        assert_eq!(same.inherited, running.inherited);
        let found = [("SURELY_UNSET_A".to_owned(), value("found"))].into();
        let change = SpecChange { variables: found, ..SpecChange::default() };
        assert_eq!(read(&change, &same).unwrap().env["A"], "found");
        let brought = inherited(&[("SURELY_UNSET_A", "new")]);
        let new = SpecChange { inherited: brought.clone(), ..SpecChange::default() };
        let new = read(&new, &same).unwrap();
        assert_eq!((new.env["A"].as_str(), new.env["C"].as_str()), ("new", "none"));
        assert_eq!(new.inherited, brought);
        assert_eq!(new.variables["SURELY_UNSET_A"], value("new"));
        assert_eq!(read(&none, &new).unwrap().env["A"], "new");
        let without_file = AppSpec { source: None, ..spec() };
        let change = SpecChange { inherited: brought.clone(), ..SpecChange::default() };
        assert_eq!(read(&change, &without_file).unwrap().inherited, brought);
    }

    #[test]
    fn the_number_of_scale_stays_unless_the_file_has_changed() {
        let mut running = spec();
        (running.instances, running.wanted) = (Instances::Count(2), 5);
        running.wanted_because = "5 asked for".to_owned();
        let mut same = running.clone();
        (same.wanted, same.wanted_because) = (2, "2 asked for".to_owned());
        keep_scale(&mut same, &running);
        assert_eq!((same.wanted, same.wanted_because.as_str()), (5, "5 asked for"));
        let mut changed = running.clone();
        (changed.instances, changed.wanted) = (Instances::Count(3), 3);
        keep_scale(&mut changed, &running);
        assert_eq!(changed.wanted, 3);
        (changed.instances, changed.wanted) = (Instances::Between { min: 2, max: 4 }, 2);
        keep_scale(&mut changed, &running);
        assert_eq!(changed.wanted, 4, "the load goes on from what runs");
    }

    #[test]
    fn what_the_command_line_read_is_taken() {
        let mut running = spec();
        (running.instances, running.wanted) = (Instances::Count(2), 5);
        running.source = Some("/gone.toml".into());
        running.applied = true;
        let read = |counted: &[&str]| {
            let counted = counted.iter().map(|&pool| pool.to_owned()).collect();
            let spec = AppSpec { command: vec!["cat".into()], ..spec() };
            let written = Some(Written { spec: Box::new(spec), counted });
            let change = SpecChange { written, ..SpecChange::default() };
            change.read(&running, &Cpus::read()).unwrap().unwrap()
        };
        let kept = read(&[]);
        assert_eq!((kept.command.join(" "), kept.wanted, kept.applied), ("cat".into(), 5, true));
        assert_eq!(kept.instances, Instances::Count(2));
        assert_eq!(read(&[OWN]).wanted, 1);
    }

    #[test]
    fn keys_that_need_a_reload_are_named() {
        let mut running = spec();
        running.env.insert("PORT".into(), "80".into());
        let mut file = running.clone();
        file.env.clear();
        file.shared = Some("{}".to_owned());
        assert!(keys_that_need_a_reload(&running, file.clone()).is_empty());
        file.command.push("x".to_owned());
        file.stop_signal = 2;
        assert_eq!(keys_that_need_a_reload(&running, file), ["command", "stop_signal"]);
        let env = [("PORT".to_owned(), "81".to_owned())].into();
        let other = AppSpec { env, ..running.clone() };
        assert_eq!(keys_that_need_a_reload(&running, other), ["env"]);
        let mut overridden = running.clone();
        overridden.overrides = Some(Box::new(Overrides::of(&[("env", "A=1")]).unwrap()));
        assert_eq!(keys_that_need_a_reload(&running, overridden), ["something"]);
    }
}
