//! `start`: launches an app's primary, waits until the workers are ready or have failed, and says
//! which. Refuses the name of an app that runs.

use std::collections::BTreeMap;
use std::time::Duration;

use config::spec::{AppSpec, Instances};
use ipc::control::{AppStatus, Reply, Request, Status};

use super::args::{StartArgs, Waiting};
use super::ask::{ask, refused};
use super::exit::{Exit, Failure};
use super::output;
use super::output::Progress;
use super::probe::{self, Seen};
use super::start_plan::{Plan, here, plan};
use super::targets::{Said, Targets, finish, show};
use super::{Session, launch, unit};
use crate::runtime::LogFormat;

/// How long a primary that has said it is done may take to be gone.
const GONE: Duration = Duration::from_secs(5);

pub(super) fn run(args: StartArgs, session: &mut Session) -> Result<Exit, Failure> {
    if let Some(file) = &args.spec {
        return in_foreground(unit::read_spec(file)?, args.log_format, session);
    }
    let known = session.home.apps()?;
    match plan(&args, &here()?, &known)? {
        Plan::Revive(names) => {
            let targets = Targets::resolve(session, &names)?;
            targets.each(session, args.waiting.json, |session, name| {
                revive(session, name, &args.waiting)
            })
        }
        Plan::Launch(mut specs) if args.foreground => match specs.pop() {
            Some(spec) => in_foreground(spec, args.log_format, session),
            None => Ok(Exit::Done),
        },
        Plan::Launch(specs) => launch_all(&specs, &args.waiting, session),
    }
}

/// Starts each app and prints each result.
fn launch_all(
    specs: &[AppSpec],
    waiting: &Waiting,
    session: &mut Session,
) -> Result<Exit, Failure> {
    let mut results = Vec::new();
    for spec in specs {
        let result = start_one(session, spec, waiting);
        if !waiting.json {
            show(session, &spec.name, &result);
            if output::on_terminal() {
                hint(&session.home, &spec.name, result.is_ok());
            }
        }
        results.push((spec.name.clone(), result));
    }
    finish(session, waiting.json, &results)
}

/// Starts an app that does not run.
pub(super) fn start_one(
    session: &Session,
    spec: &AppSpec,
    waiting: &Waiting,
) -> Result<Said, Failure> {
    start_in(session, spec, None, waiting)
}

/// The same, with this environment instead of ours.
pub(super) fn start_in(
    session: &Session,
    spec: &AppSpec,
    environment: Option<&BTreeMap<String, String>>,
    waiting: &Waiting,
) -> Result<Said, Failure> {
    let home = &session.home;
    make_room(session, &spec.name)?;
    launch::launch(home, spec, environment)?;
    if waiting.no_wait {
        return Ok(Said::new("starts in the background"));
    }
    wait_ready(session, &spec.name, waiting, spec.instances)
}

/// Waits until the app is ready, and describes it.
fn wait_ready(
    session: &Session,
    name: &str,
    waiting: &Waiting,
    instances: Instances,
) -> Result<Said, Failure> {
    let mut client = probe::connect(&session.home, name)?;
    let progress = Progress::begin(format_args!("{name}: waiting for the workers to be ready"));
    let reply = client.ask(&Request::WaitReady, waiting.timeout, |notice| progress.notice(notice));
    drop(progress);
    match reply {
        Ok(Reply::Done { message }) => {
            let status = probe::status(&session.home, name)?;
            let text = status.as_ref().map_or(message, |status| summary(status, instances));
            Ok(Said { message: text, status })
        }
        Ok(Reply::Failed { kind, reason, last_lines }) => {
            Err(refused(name, kind, &reason, last_lines))
        }
        Ok(_) => Err(Failure::failed(format!(
            "the primary of {name} answered something that was not asked for"
        ))),
        Err(error) => {
            let mut failure = Failure::from(error);
            if let (Exit::TimedOut, Some(after)) = (failure.exit, waiting.timeout) {
                failure.reason = format!(
                    "{name} is not ready after {}; it goes on starting in the background: see \
                     \"supervisor describe {name}\"",
                    humantime::format_duration(after)
                );
            }
            Err(failure)
        }
    }
}

/// `2 workers ready on 127.0.0.1:8000 (max of 2 CPUs)`.
fn summary(status: &AppStatus, instances: Instances) -> String {
    let workers = match (status.ready, status.wanted) {
        (1, 1) => "1 worker ready".to_owned(),
        (ready, wanted) if ready == wanted => format!("{ready} workers ready"),
        (ready, wanted) => format!("{ready} of {wanted} workers ready"),
    };
    let addresses: Vec<&str> = status.listeners.iter().map(|l| l.address.as_str()).collect();
    let place = match addresses.is_empty() {
        true => ", listening on nothing".to_owned(),
        false => format!(" on {}", addresses.join(", ")),
    };
    let because = match instances {
        Instances::Count(_) => String::new(),
        _ => format!(" ({}: {})", status.wanted, status.wanted_because),
    };
    let notes: String = status.notes.iter().map(|note| format!("\n  note: {note}")).collect();
    format!("{workers}{place}{because}{notes}")
}

/// Makes sure that nothing runs under this name. An app that is stopped or given up makes way.
fn make_room(session: &Session, name: &str) -> Result<(), Failure> {
    let home = &session.home;
    match probe::look(home, name)? {
        Seen::Nothing => Ok(()),
        Seen::Lost(lost) => Err(Failure::failed(format!("{name}: {}", lost.reason(name)))),
        Seen::Silent(status) => Err(Failure::failed(format!(
            "{name} is there already: {}; wait for it, or use --name for another app",
            status.reason.unwrap_or_default()
        ))),
        Seen::Status(status) if is_idle(&status) => {
            let waiting = Waiting { timeout: Some(GONE), ..Waiting::default() };
            ask(home, name, &Request::Delete { fast: true }, "making room", &waiting)?;
            probe::wait_for_end(home, name, GONE)
        }
        Seen::Status(status) => Err(running(&status)),
    }
}

/// Whether an app has neither workers nor the intent to have any.
fn is_idle(status: &AppStatus) -> bool {
    matches!(status.status, Status::Stopped | Status::Errored)
        && status.workers.iter().all(|worker| worker.pid.is_none())
}

fn running(status: &AppStatus) -> Failure {
    let AppStatus { name, primary_pid, ready, wanted, .. } = status;
    if status.status == Status::Stopping {
        return Failure::failed(format!(
            "{name} is being stopped (pid {primary_pid}): start it when \"supervisor list\" shows it \
             as stopped, or use --name for another app"
        ));
    }
    Failure::failed(format!(
        "{name} is running already (pid {primary_pid}, {ready} of {wanted} workers ready): use \
         \"supervisor reload {name}\" to replace its code, or --name for another app"
    ))
}

/// Starts the workers of a stopped app.
fn revive(session: &Session, name: &str, waiting: &Waiting) -> Result<Said, Failure> {
    let home = &session.home;
    let instances = match probe::look(home, name)? {
        Seen::Status(status) if !is_idle(&status) && status.status != Status::Stopping => {
            return Err(running(&status));
        }
        Seen::Nothing => return Err(probe::no_such_app(name)),
        Seen::Lost(lost) => return Err(Failure::failed(format!("{name}: {}", lost.reason(name)))),
        // The explanation of the count was given when the app was started.
        Seen::Status(_) | Seen::Silent(_) => Instances::Count(1),
    };
    let said = ask(home, name, &Request::Start, "starting", waiting)?;
    if waiting.no_wait {
        return Ok(said);
    }
    wait_ready(session, name, waiting, instances)
}

/// Is the primary itself.
fn in_foreground(spec: AppSpec, format: LogFormat, session: &Session) -> Result<Exit, Failure> {
    make_room(session, &spec.name)?;
    session.home.prepare()?;
    session.home.socket(&spec.name)?;
    let name = spec.name.clone();
    crate::runtime::run(spec, &session.home, crate::runtime::Mode::Foreground { format })
        .map(Exit::Primary)
        .map_err(|error| refused(&name, error.failure_kind(), &error.to_string(), Vec::new()))
}

/// What to do next, for people.
fn hint(home: &crate::home::Home, name: &str, is_ready: bool) {
    if is_ready {
        output::remark(format_args!(
            "next: supervisor list | logs -f {name} | reload {name} | scale {name} +1 | delete {name}"
        ));
    } else if matches!(probe::look(home, name), Ok(Seen::Status(_))) {
        output::remark(format_args!(
            "{name} is kept: supervisor describe {name} | logs {name} | restart {name} | delete {name}"
        ));
    }
}

#[cfg(test)]
mod tests;
