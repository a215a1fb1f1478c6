//! `resurrect`: starts the apps that `save` wrote down, with their environments.

use std::path::Path;

use config::cpus::Cpus;
use config::spec::AppSpec;
use ipc::control::Status;

use crate::cli::args::WaitOptions;
use crate::cli::dependencies::{self, Dependent};
use crate::cli::exit::{Exit, Failure};
use crate::cli::files::dump::{self, Dump, SavedApp};
use crate::cli::launch::start_app;
use crate::cli::session::Session;
use crate::cli::side_by_side::Work;
use crate::cli::targets::probe::{AppState, probe};
use crate::cli::targets::{Outcome, Results};
use crate::home::Home;

/// Start the apps that "save" saved, for example after a reboot.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these of the saved apps. Default: all.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Start the apps of the save before the last one.
    #[arg(long)]
    pub(crate) previous: bool,
    #[command(flatten)]
    pub(crate) wait: WaitOptions,
}

/// Runs the verb. Refuses a file that is damaged.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let latest = session.home.saved();
    let path = if args.previous { dump::previous(&latest) } else { latest.clone() };
    let found = dump::read(&path).map_err(|why| unusable(&path, &why, &latest, args.previous))?;
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
    let specs: Vec<&AppSpec> = apps.iter().map(|app| &app.spec).collect();
    // Apps that were saved ran, so a circle among them is no reason to start none.
    let order = dependencies::order(&specs).unwrap_or_else(|_| (0..specs.len()).collect());
    let is_meant = |app: &SavedApp| args.names.is_empty() || args.names.contains(&app.spec.name);
    let mut apps = dependencies::arranged(apps, order);
    apps.retain(is_meant);
    let mut results = Results::new(args.wait.json);
    let home = session.home.clone();
    dependencies::in_stages(Work::Waits, &apps, (session, &mut results), |app, _| {
        start_saved(&home, app, &args.wait)
    });
    results.finish(session)
}

impl Dependent for SavedApp {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn spec(&self) -> Option<&AppSpec> {
        Some(&self.spec)
    }
}

/// Why the file is refused, and whether the other of the two can be used.
fn unusable(path: &Path, why: &str, latest: &Path, is_previous: bool) -> Failure {
    let other = if is_previous { latest.to_owned() } else { dump::previous(latest) };
    let advice = match dump::read(&other) {
        Ok(Some(Dump { time, .. })) if is_previous => {
            format!("the last file, of {time}, is valid: supervisor resurrect")
        }
        Ok(Some(Dump { time, .. })) => {
            format!("the file before it, of {time}, is valid: supervisor resurrect --previous")
        }
        Ok(None) => "there is no other file: start the apps and run \"supervisor save\"".to_owned(),
        Err(why) => format!("{} cannot be used either: {why}", other.display()),
    };
    Failure::failed(format!("cannot use {}: {why}; {advice}", path.display()))
}

/// Starts one app, unless it runs.
fn start_saved(home: &Home, app: &SavedApp, wait: &WaitOptions) -> Result<Outcome, Failure> {
    let environment = app.variables();
    let (mut spec, scaled) = (app.spec.clone(), app.scaled);
    config::name::check(&spec.name).map_err(Failure::failed)?;
    if let AppState::Answers(status) = probe(home, &spec.name)?
        && !matches!(status.status, Status::Stopped | Status::Errored | Status::Stopping)
    {
        return Ok(Outcome::new("runs already"));
    }
    if !scaled {
        spec.resolve(&Cpus::read());
    }
    start_app(home, &spec, Some(&environment), wait)
}
