//! What `apply` does with each app, decided from what runs and what the files want. Asks nobody and
//! changes nothing.

use std::collections::BTreeSet;

use config::change::{SpecChange, Written};
use config::cpus::Cpus;
use config::difference::{self, KeyChange};
use config::keys::Change;
use config::spec::AppSpec;
use serde::Serialize;

/// An app as the files want it.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) spec: AppSpec,
    /// The pools whose `instances` the file names, the app's own as `default`.
    pub(crate) counted: BTreeSet<String>,
    /// What runs under the name of the app now.
    pub(crate) present: Present,
}

/// What runs under a name.
#[derive(Debug, Clone)]
pub(crate) enum Present {
    /// There is no such app.
    Absent,
    /// The app has no workers, and starts none by itself: it was stopped or given up. With its
    /// spec, if its primary tells.
    Idle(Option<Box<AppSpec>>),
    /// The workers of the app have done their work with this spec, and ended.
    Done(Box<AppSpec>),
    /// The app runs with this spec.
    Runs(Box<AppSpec>),
    /// The primary is gone, and some of the workers still run. With the spec of its record.
    Lost(Option<Box<AppSpec>>),
    /// It cannot be told, for this reason.
    Unknown(String),
}

/// An app that runs and that the files do not name.
#[derive(Debug, Clone)]
pub(crate) struct Other {
    pub(crate) name: String,
    /// Whether `apply` started it.
    pub(crate) applied: bool,
    /// Whether its file is in the set.
    pub(crate) of_this_set: bool,
}

/// What the user chose.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    /// Only these apps; none stands for all.
    pub(crate) only: Vec<String>,
    /// Delete apps that `apply` started from this set of files and that it no longer names.
    pub(crate) prune: bool,
    /// Drop the flags that `start` was given beside the file.
    pub(crate) as_written: bool,
}

/// What `apply` does with one app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Step {
    /// It is as the files want it.
    Nothing,
    /// It changes while its workers run.
    Live,
    /// Its workers are replaced one by one.
    Reload,
    /// It is deleted and started anew.
    Restart,
    /// It is started.
    Start,
    /// It is deleted.
    Delete,
    /// Nothing can be planned for it.
    Fail,
}

/// The plan for one app.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) name: String,
    pub(crate) step: Step,
    /// Why, where the changes do not say it.
    pub(crate) why: Option<String>,
    pub(crate) changes: Vec<KeyChange>,
    /// The flags of an earlier command line that go before the keys of the file, without values.
    pub(crate) kept: Vec<String>,
    /// What the app is to become.
    pub(crate) to: Option<Box<AppSpec>>,
    /// What the primary of a running app is told.
    pub(crate) change: Option<SpecChange>,
}

impl Planned {
    fn new(name: &str, step: Step) -> Self {
        Self {
            name: name.to_owned(),
            step,
            why: None,
            changes: Vec::new(),
            kept: Vec::new(),
            to: None,
            change: None,
        }
    }

    fn because(self, why: impl Into<String>) -> Self {
        Self { why: Some(why.into()), ..self }
    }
}

/// The plan for every app, in the order in which it is carried out: what is deleted goes first, so
/// that its addresses are free.
pub(crate) fn decide(
    wanted: &[Wanted],
    others: &[Other],
    flags: &Flags,
    cpus: &Cpus,
) -> Vec<Planned> {
    let pruned = |other: &&Other| flags.prune && other.applied && other.of_this_set;
    let deleted = others.iter().filter(pruned).map(|other| {
        Planned::new(&other.name, Step::Delete).because("its file no longer names it")
    });
    let is_meant =
        |wanted: &&Wanted| flags.only.is_empty() || flags.only.contains(&wanted.spec.name);
    let kept = wanted.iter().filter(is_meant).map(|wanted| of_app(wanted, flags, cpus));
    deleted.chain(kept).collect()
}

fn of_app(wanted: &Wanted, flags: &Flags, cpus: &Cpus) -> Planned {
    let name = &wanted.spec.name;
    match &wanted.present {
        Present::Absent => start(wanted.spec.clone(), flags, None),
        Present::Idle(before) => {
            let to = as_before(wanted, before.as_deref(), flags, cpus);
            start(to, flags, Some("it is stopped or was given up"))
        }
        Present::Lost(before) => {
            let to = started(as_before(wanted, before.as_deref(), flags, cpus));
            Planned { to, ..Planned::new(name, Step::Restart) }.because("its primary is gone")
        }
        Present::Unknown(reason) => Planned::new(name, Step::Fail).because(reason),
        Present::Runs(running) => of_known(wanted, running, flags, cpus),
        Present::Done(before) => match of_known(wanted, before, flags, cpus) {
            planned if matches!(planned.step, Step::Nothing | Step::Live) => {
                planned.because("it has done its work")
            }
            Planned { to, changes, kept, .. } => {
                let to = to.map_or_else(|| wanted.spec.clone(), |to| *to);
                Planned { changes, kept, ..start(to, flags, None) }
            }
        },
    }
}

/// What the primary of an app is told.
fn change(wanted: &Wanted, flags: &Flags) -> SpecChange {
    let written = Written { spec: Box::new(wanted.spec.clone()), counted: wanted.counted.clone() };
    SpecChange {
        file: wanted.spec.source.clone(),
        profile: wanted.spec.profile.clone(),
        written: Some(written),
        as_written: flags.as_written,
        ..SpecChange::default()
    }
}

/// The spec that the files want, with what stays of that of the app before: its flags, and the
/// number of workers where the files do not say it.
fn as_before(wanted: &Wanted, before: Option<&AppSpec>, flags: &Flags, cpus: &Cpus) -> AppSpec {
    let merged = before.map(|before| change(wanted, flags).merge(None, before, cpus));
    match merged {
        Some(Ok(Some(spec))) => spec,
        Some(Ok(None) | Err(_)) | None => wanted.spec.clone(),
    }
}

/// The plan for an app whose spec is known.
fn of_known(wanted: &Wanted, running: &AppSpec, flags: &Flags, cpus: &Cpus) -> Planned {
    let (name, change) = (&wanted.spec.name, change(wanted, flags));
    match change.merge(None, running, cpus) {
        Ok(Some(to)) => changed(wanted, running, to, change),
        Ok(None) => Planned::new(name, Step::Nothing),
        Err(reason) => Planned::new(name, Step::Fail).because(reason),
    }
}

/// The plan for an app that runs: the key that takes the most decides.
fn changed(wanted: &Wanted, running: &AppSpec, to: AppSpec, change: SpecChange) -> Planned {
    let changes = difference::between(running, &to);
    // From now on `reload` reads that file.
    let moved = running.applied && (running.source != to.source || running.profile != to.profile);
    let step = match difference::takes(&changes) {
        None if moved => Step::Live,
        None => Step::Nothing,
        Some(Change::Nothing | Change::Config | Change::Scale) => Step::Live,
        Some(Change::Reload) => Step::Reload,
        Some(Change::Start) => Step::Restart,
    };
    let kept = to.overrides.as_ref().map(|overrides| overrides.flags()).unwrap_or_default();
    let why = to.source.as_ref().filter(|_| moved && running.source != to.source);
    let why = why.map(|file| format!("its file is now {}", file.display()));
    let to = if step == Step::Restart { started(to) } else { Some(Box::new(to)) };
    let name = &wanted.spec.name;
    Planned { changes, kept, to, why, change: Some(change), ..Planned::new(name, step) }
}

fn start(to: AppSpec, flags: &Flags, why: Option<&str>) -> Planned {
    let name = to.name.clone();
    if !to.autostart && !flags.only.contains(&name) {
        return Planned::new(&name, Step::Nothing).because("autostart is false");
    }
    let why = why.map(str::to_owned);
    Planned { to: started(to), why, ..Planned::new(&name, Step::Start) }
}

/// The spec of an app that `apply` starts.
fn started(spec: AppSpec) -> Option<Box<AppSpec>> {
    Some(Box::new(AppSpec { applied: true, ..spec }))
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
