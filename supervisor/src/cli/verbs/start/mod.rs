//! `start`: starts apps from a command, a script or a configuration file, or starts stopped apps
//! again.

mod args;
mod plan;

use config::keys;
use config::spec::AppSpec;

use crate::cli::args::WaitOptions;
use crate::cli::dependencies::{blocked, in_stages, not_started};
use crate::cli::exit::{Exit, Failure};
use crate::cli::launch::{free_name, start_app, start_stopped};
use crate::cli::session::Session;
use crate::cli::side_by_side::Work;
use crate::cli::specs::working_dir;
use crate::cli::targets::probe::{AppState, probe};
use crate::cli::targets::{Results, Targets, refuse_other_procfile};
use crate::cli::{output, service};
use crate::home::Home;
use crate::runtime::{LogFormat, Mode};
pub(crate) use args::Args;
use plan::{Plan, plan};

/// Runs the verb. Fails if the arguments make no sense together; the result of each app is printed.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    if let Some(file) = &args.spec {
        return in_foreground(service::read_spec(file)?, args.log_format, session);
    }
    let known = session.home.apps()?;
    match plan(args, &working_dir()?, &known)? {
        Plan::StartStopped(names) => {
            let targets = Targets::resolve(session, &names)?;
            targets.each(session, args.wait.json, Work::Waits, |home, name| {
                start_stopped(home, name, &args.wait)
            })
        }
        Plan::Launch(mut specs) if args.foreground => match specs.pop() {
            Some(spec) if args.watch_anyway => {
                in_foreground(watched(spec)?, args.log_format, session)
            }
            Some(spec) => in_foreground(spec, args.log_format, session),
            None => Ok(Exit::Done),
        },
        Plan::Launch(specs) => launch_all(&specs, &args.wait, session),
    }
}

/// Starts the apps, which are in the order of their dependencies, and prints each result in that
/// order. Apps that do not depend on each other are started side by side.
fn launch_all(
    specs: &[AppSpec],
    wait: &WaitOptions,
    session: &mut Session,
) -> Result<Exit, Failure> {
    let mut results = Results::new(wait.json);
    let home = session.home.clone();
    in_stages(Work::Waits, specs, (session, &mut results), |spec, failed| {
        match blocked(spec, failed) {
            Some(other) => Err(not_started(&spec.name, other)),
            None => {
                refuse_other_procfile(&home, spec).and_then(|()| start_app(&home, spec, None, wait))
            }
        }
    });
    if let [spec] = specs
        && !wait.json
        && output::stderr_is_terminal()
    {
        suggest_next(&home, &spec.name, results.failed().is_empty());
    }
    results.finish(session)
}

/// The app with its folder watched, if nothing says what is. A later `reload` keeps that.
fn watched(mut spec: AppSpec) -> Result<AppSpec, Failure> {
    if spec.watch.paths.is_none() {
        spec.watch.paths = Some(Vec::new());
        if let (Some(overrides), Some(key)) = (&mut spec.overrides, keys::find("watch")) {
            overrides.add(key, "true").map_err(Failure::usage)?;
        }
    }
    Ok(spec)
}

/// Becomes the primary of the app.
fn in_foreground(spec: AppSpec, format: LogFormat, session: &Session) -> Result<Exit, Failure> {
    free_name(&session.home, &spec.name)?;
    session.home.prepare()?;
    session.home.files(&spec.name).socket()?;
    let name = spec.name.clone();
    crate::runtime::run(spec, &session.home, Mode::Foreground { format })
        .map(Exit::Primary)
        .map_err(|error| {
            let (kind, reason) = (error.failure_kind(), error.to_string());
            Failure::refused(&name, kind, &reason, Vec::new())
        })
}

/// Prints commands that a user may want next.
fn suggest_next(home: &Home, name: &str, is_ready: bool) {
    if is_ready {
        output::note(format_args!(
            "next: supervisor list | logs -f {name} | reload {name} | scale {name} +1 | \
             delete {name}"
        ));
    } else if matches!(probe(home, name), Ok(AppState::Answers(_))) {
        output::note(format_args!(
            "{name} still exists: supervisor describe {name} | logs {name} | restart {name} | \
             delete {name}"
        ));
    }
}
