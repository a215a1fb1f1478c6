//! `save` and `resurrect`: the set of running apps, as it was, after a reboot.
//!
//! An app that cannot be asked makes `save` fail and leaves the dump as it was: a set that lacks
//! one is worse than an old one. A dump that is broken is refused whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use clap::Args;
use config::cpus::Cpus;
use ipc::control::Status;

use super::args::Waiting;
use super::dump::{self, Dump, Saved};
use super::exit::{Exit, Failure};
use super::launch::PLACES;
use super::output;
use super::probe::{self, Seen};
use super::reload::held_spec;
use super::start::start_in;
use super::targets::{Said, finish, show};
use super::{Session, unit};
use crate::home::HOME_VARIABLE;

/// Variables that belong to one start of a service and not to the next, beside what its manager
/// says to it and where things are.
const NOT_KEPT: [&str; 2] = ["INVOCATION_ID", "JOURNAL_STREAM"];

#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// Save also that no app runs.
    #[arg(long)]
    pub(crate) empty: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ResurrectArgs {
    /// Of those that were saved, only these. Default: all.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Those that were saved before the last time.
    #[arg(long)]
    pub(crate) previous: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

/// `save`
pub(super) fn save(args: &SaveArgs, session: &mut Session) -> Result<Exit, Failure> {
    let mut apps = Vec::new();
    for name in session.home.apps()? {
        apps.extend(saved(session, &name)?);
    }
    let path = session.home.saved();
    if apps.is_empty() && !args.empty {
        return Err(Failure::failed(format!(
            "no app runs, so nothing was saved and {} is as it was: say --empty to save just that",
            path.display()
        )));
    }
    session.home.prepare()?;
    let time = format!("{:.0}", jiff::Timestamp::now());
    dump::write(&path, &time, &apps).map_err(|error| {
        Failure::io(
            format_args!("cannot write {} (what was saved before is kept)", path.display()),
            &error,
        )
    })?;
    let names: Vec<&str> = apps.iter().map(|app| app.spec.name.as_str()).collect();
    let shown = path.display();
    session.out.line(match names.len() {
        0 => format_args!("saved in {shown}: no app").to_string(),
        _ => format!("saved in {shown}: {}", names.join(", ")),
    });
    Ok(Exit::Done)
}

/// One app, if it is to run again.
fn saved(session: &Session, name: &str) -> Result<Option<Saved>, Failure> {
    let unsaved =
        |why: &str| Failure::failed(format!("{name} {why}, so nothing was saved: try again"));
    let status = match probe::look(&session.home, name)? {
        Seen::Status(status) => status,
        Seen::Nothing => return Ok(None),
        Seen::Lost(lost) => return Err(unsaved(&format!("is lost ({})", lost.reason(name)))),
        Seen::Silent(_) => return Err(unsaved("did not answer")),
    };
    if matches!(status.status, Status::Stopped | Status::Stopping) {
        output::remark(format_args!("{name}: not saved, since it is stopped"));
        return Ok(None);
    }
    if unit::is_installed(name) {
        output::remark(format_args!("{name}: not saved, since systemd starts it"));
        return Ok(None);
    }
    let spec = held_spec(session, name)?;
    let scaled = spec.is_scaled(&Cpus::read());
    let environment = environment(status.primary_pid).map_err(|error| {
        Failure::io(
            format_args!("cannot read the environment of {name}; nothing was saved"),
            &error,
        )
    })?;
    Ok(Some(Saved { spec, scaled, environment }))
}

/// The environment that a primary was started with.
fn environment(primary: u32) -> std::io::Result<BTreeMap<String, String>> {
    let bytes = fs::read(format!("/proc/{primary}/environ"))?;
    let left = [&PLACES[..], &[HOME_VARIABLE], &systemd::VARIABLES, &NOT_KEPT].concat();
    let variables = bytes.split(|byte| *byte == 0).filter_map(|variable| {
        let (name, value) = std::str::from_utf8(variable).ok()?.split_once('=')?;
        let kept = !name.is_empty() && !left.contains(&name);
        kept.then(|| (name.to_owned(), value.to_owned()))
    });
    Ok(variables.collect())
}

/// `resurrect`
pub(super) fn resurrect(args: &ResurrectArgs, session: &mut Session) -> Result<Exit, Failure> {
    let latest = session.home.saved();
    let path = if args.previous { dump::previous(&latest) } else { latest.clone() };
    let found = dump::read(&path).map_err(|why| refused(&path, &why, &latest, args.previous))?;
    let Some(dump) = found else {
        let advice = if args.previous { "" } else { ": run \"supervisor save\" first" };
        return Err(Failure::failed(format!("there is no {}{advice}", path.display())));
    };
    let Dump { time, apps } = dump;
    if let Some(name) = args.names.iter().find(|name| !apps.iter().any(|a| a.spec.name == **name)) {
        return Err(Failure::new(
            Exit::NoSuchApp,
            format!("{name} is not among the apps that were saved at {time}"),
        ));
    }
    let mut results = Vec::new();
    for app in apps {
        let name = app.spec.name.clone();
        if !args.names.is_empty() && !args.names.contains(&name) {
            continue;
        }
        let result = revive(session, app, &args.waiting);
        if !args.waiting.json {
            show(session, &name, &result);
        }
        results.push((name, result));
    }
    finish(session, args.waiting.json, &results)
}

/// Why a dump is refused, and whether there is another.
fn refused(path: &Path, why: &str, latest: &Path, is_previous: bool) -> Failure {
    let other = if is_previous { latest.to_owned() } else { dump::previous(latest) };
    let advice = match dump::read(&other) {
        Ok(Some(Dump { time, .. })) if is_previous => {
            format!("the last one, of {time}, is whole: supervisor resurrect")
        }
        Ok(Some(Dump { time, .. })) => {
            format!("the one before, of {time}, is whole: supervisor resurrect --previous")
        }
        Ok(None) => "there is no other: start the apps and run \"supervisor save\"".to_owned(),
        Err(why) => format!("neither is {} of use: {why}", other.display()),
    };
    Failure::failed(format!("cannot use {}: {why}; {advice}", path.display()))
}

/// Starts one app unless it runs.
fn revive(session: &Session, app: Saved, waiting: &Waiting) -> Result<Said, Failure> {
    let Saved { mut spec, scaled, environment } = app;
    config::name::check(&spec.name).map_err(Failure::failed)?;
    if let Seen::Status(status) = probe::look(&session.home, &spec.name)?
        && !matches!(status.status, Status::Stopped | Status::Errored | Status::Stopping)
    {
        return Ok(Said::new("runs already"));
    }
    if !scaled {
        spec.resolve(&Cpus::read());
    }
    start_in(session, &spec, Some(&environment), waiting)
}
