//! `plan` and `apply`: what runs is made what configuration files want. `decide` makes the plan,
//! this asks the primaries for what it needs, and `carry_out` does it.

mod carry_out;
mod decide;
mod options;
mod show;

use std::collections::BTreeSet;

use config::cpus::Cpus;
use ipc::control::{AppStatus, Status};

pub(crate) use carry_out::carry_out;
pub(crate) use decide::Planned;
pub(crate) use options::PlanOptions;
pub(crate) use show::show;

use super::exit::{Exit, Failure};
use super::file_set::{DefinedApp, FileSet};
use super::launch::is_idle;
use super::session::Session;
use super::targets::{probe, running_spec};
use crate::home::Home;
use decide::{Flags, Other, Present, Wanted, decide};

/// Makes the plan. Changes nothing. Fails if a file has a mistake, or if this user may not see the
/// environment of the apps.
pub(crate) fn plan(options: &PlanOptions, session: &Session) -> Result<Vec<Planned>, Failure> {
    let home = &session.home;
    if !home.may_see_all() {
        return Err(Failure::new(
            Exit::NotPermitted,
            "only the apps' own user and root see what runs, and may change it",
        ));
    }
    let set = FileSet::read_some(&options.files, options.profile.as_deref(), options.prune)?;
    set.check_only(&options.only)?;
    let flags =
        Flags { only: options.only.clone(), prune: options.prune, as_written: options.as_written };
    let others = if flags.prune { others(home, &set)? } else { Vec::new() };
    Ok(decide(&wanted(home, set), &others, &flags, &Cpus::read()))
}

/// The apps of the files, with what runs of each.
fn wanted(home: &Home, set: FileSet) -> Vec<Wanted> {
    let names: Vec<String> = set.apps.iter().map(|app| app.spec.name.clone()).collect();
    let statuses = probe::statuses(home, &names);
    let apps = set.apps.into_iter().zip(statuses);
    apps.map(|(DefinedApp { spec, definition }, status)| {
        let present = present(home, &spec.name, status);
        Wanted { spec, counted: definition.counted, present }
    })
    .collect()
}

fn present(home: &Home, name: &str, status: Result<Option<AppStatus>, Failure>) -> Present {
    match status {
        Err(failure) => Present::Unknown(failure.reason),
        Ok(None) => Present::Absent,
        Ok(Some(status)) if is_idle(&status) => match running_spec(home, name) {
            Ok(spec) if status.done => Present::Done(Box::new(spec)),
            spec => Present::Idle(spec.ok().map(Box::new)),
        },
        Ok(Some(status)) if status.status == Status::Lost => {
            Present::Lost(home.read_record(name).map(|record| Box::new(record.spec)))
        }
        Ok(Some(status)) if status.status == Status::Stopping => {
            Present::Unknown("it is being stopped: try again when it is".to_owned())
        }
        Ok(Some(_)) => match running_spec(home, name) {
            Ok(spec) => Present::Runs(Box::new(spec)),
            Err(failure) => Present::Unknown(failure.reason),
        },
    }
}

/// The apps that the files do not name. One whose primary does not say where it came from is left
/// alone.
fn others(home: &Home, set: &FileSet) -> Result<Vec<Other>, Failure> {
    let named: BTreeSet<&str> = set.apps.iter().map(|app| app.spec.name.as_str()).collect();
    let names = home.apps()?.into_iter().filter(|name| !named.contains(name.as_str()));
    let others = names.filter_map(|name| {
        let spec = running_spec(home, &name).ok()?;
        let of_this_set = spec.source.is_some_and(|source| set.has_file(&source));
        Some(Other { name, applied: spec.applied, of_this_set })
    });
    Ok(others.collect())
}
