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
    /// The app has no workers, and starts none by itself: it was stopped or given up.
    Idle,
    /// The app runs with this spec.
    Runs(Box<AppSpec>),
    /// The primary is gone, and some of the workers still run.
    Lost,
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
        Present::Absent => start(wanted, flags, None),
        Present::Idle => start(wanted, flags, Some("it is stopped or was given up")),
        Present::Lost => {
            let planned = Planned { to: started(wanted), ..Planned::new(name, Step::Restart) };
            planned.because("its primary is gone")
        }
        Present::Unknown(reason) => Planned::new(name, Step::Fail).because(reason),
        Present::Runs(running) => {
            let written =
                Written { spec: Box::new(wanted.spec.clone()), counted: wanted.counted.clone() };
            let change = SpecChange {
                file: wanted.spec.source.clone(),
                profile: wanted.spec.profile.clone(),
                written: Some(written),
                as_written: flags.as_written,
                ..SpecChange::default()
            };
            match change.merge(None, running, cpus) {
                Ok(Some(to)) => changed(wanted, running, to, change),
                Ok(None) => Planned::new(name, Step::Nothing),
                Err(reason) => Planned::new(name, Step::Fail).because(reason),
            }
        }
    }
}

/// The plan for an app that runs: the key that takes the most decides.
fn changed(wanted: &Wanted, running: &AppSpec, to: AppSpec, change: SpecChange) -> Planned {
    let changes = difference::between(running, &to);
    let step = match difference::takes(&changes) {
        None => Step::Nothing,
        Some(Change::Nothing | Change::Config | Change::Scale) => Step::Live,
        Some(Change::Reload) => Step::Reload,
        Some(Change::Start) => Step::Restart,
    };
    let kept = to.overrides.as_ref().map(|overrides| overrides.flags()).unwrap_or_default();
    let to = if step == Step::Restart { started(wanted) } else { Some(Box::new(to)) };
    Planned { changes, kept, to, change: Some(change), ..Planned::new(&wanted.spec.name, step) }
}

fn start(wanted: &Wanted, flags: &Flags, why: Option<&str>) -> Planned {
    let name = &wanted.spec.name;
    if !wanted.spec.autostart && !flags.only.contains(name) {
        return Planned::new(name, Step::Nothing).because("autostart is false");
    }
    let why = why.map(str::to_owned);
    Planned { to: started(wanted), why, ..Planned::new(name, Step::Start) }
}

/// The spec of an app that `apply` starts.
fn started(wanted: &Wanted) -> Option<Box<AppSpec>> {
    Some(Box::new(AppSpec { applied: true, ..wanted.spec.clone() }))
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
