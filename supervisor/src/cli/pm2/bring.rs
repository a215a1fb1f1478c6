//! Apps become what is described: one that runs gets its new spec and new workers, the others are
//! started.

use std::collections::{BTreeMap, BTreeSet};

use config::change::{SpecChange, Written};
use config::spec::AppSpec;
use ipc::control::{Method, Request};

use super::described::Described;
use super::line::Line;
use super::processes::Processes;
use super::targets::Target;
use crate::cli::args::WaitOptions;
use crate::cli::dependencies;
use crate::cli::exit::{Exit, Failure};
use crate::cli::launch::{is_idle, launch_app};
use crate::cli::session::Session;
use crate::cli::side_by_side::Work;
use crate::cli::targets::{Outcome, Results, ask};
use crate::home::Home;

/// How the workers of an app that runs are replaced by PM2's verb.
pub(super) fn method(verb: &str) -> Method {
    match verb {
        "reload" => Method::Rolling { pool: None },
        _ => Method::Hard,
    }
}

/// Brings the apps to what is described, several at once, and those first that others depend on.
/// Prints each result, and returns the worst exit code.
pub(super) fn bring(
    apps: Vec<Described>,
    method: &Method,
    line: &Line,
    processes: &Processes,
    session: &mut Session,
) -> Result<Exit, Failure> {
    let specs: Vec<&AppSpec> = apps.iter().map(|app| &app.spec).collect();
    let order = dependencies::order(&specs).map_err(|circle| {
        Failure::usage(format!("these apps depend on each other: {}", circle.join(", ")))
    })?;
    let apps = dependencies::arranged(apps, order);
    let inherited = line.has("--update-env").then(|| std::env::vars().collect());
    let (mut results, home) = (Results::new(false), session.home.clone());
    dependencies::in_stages(
        Work::Replaces,
        &apps,
        (session, &mut results),
        |app, _: &BTreeSet<_>| match processes.app(&app.spec.name) {
            Some(running) if !is_idle(running) => change(&home, app, method, inherited.as_ref()),
            Some(_) | None => launch_app(&home, &app.spec),
        },
    );
    results.finish(session)
}

/// Ends the watch of these apps: with PM2, `stop` does, until a flag or a file brings it back.
pub(super) fn unwatch(
    targets: &[Target],
    processes: &Processes,
    home: &Home,
) -> Result<(), Failure> {
    for spec in targets.iter().filter_map(|target| processes.spec(target.app())) {
        if spec.watch.paths.is_none() {
            continue;
        }
        let mut spec = spec.clone();
        spec.watch.paths = None;
        let app = Described { spec, counted: std::iter::empty().collect() };
        change(home, &app, &Method::Adopt, None)?;
    }
    Ok(())
}

fn change(
    home: &Home,
    app: &Described,
    method: &Method,
    inherited: Option<&BTreeMap<String, String>>,
) -> Result<Outcome, Failure> {
    let Described { spec, counted } = app;
    let written = Written { spec: Box::new(spec.clone()), counted: counted.clone() };
    let change = SpecChange {
        file: spec.source.clone(),
        profile: spec.profile.clone(),
        written: Some(written),
        inherited: inherited.cloned(),
        ..SpecChange::default()
    };
    let request = Request::Configure { change, method: method.clone() };
    ask(home, &spec.name, &request, "replacing the workers", &WaitOptions::default())
}
