//! Starts apps, and waits until their workers are ready.
//!
//! Two apps cannot have the same name: a running app refuses a start, an app that is stopped or has
//! failed is removed first.

mod primary_process;
pub(crate) mod zygote;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::time::Duration;

use config::spec::{AppSpec, Instances};
use ipc::control::{AppStatus, Notice, NoticeKind, Reply, Request, Status, WorkerStatus};

pub(crate) use primary_process::{LOCATION_VARIABLES, own_program};

use super::args::WaitOptions;
use super::exit::{Exit, Failure};
use super::logs::events;
use super::output::{Progress, one_line};
use super::targets::probe::{self, AppState};
use super::targets::{Outcome, ask, without_name};
use crate::client::ClientError;
use crate::home::Home;

/// How often `launch_app` reads the events, in case the first death came before it listened.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a primary that has finished may take to exit.
pub(crate) const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts an app, and waits until it is ready as `wait` says. The primary gets `environment`, or
/// the environment of this process. Fails if an app of that name runs, or if the workers fail.
pub(crate) fn start_app(
    home: &Home,
    spec: &AppSpec,
    environment: Option<&[(OsString, OsString)]>,
    wait: &WaitOptions,
) -> Result<Outcome, Failure> {
    free_name(home, &spec.name)?;
    primary_process::start(home, spec, environment)?;
    if wait.no_wait {
        return Ok(Outcome::new("starts in the background"));
    }
    wait_ready(home, &spec.name, wait, spec.instances)
}

/// Starts an app, and waits until it is ready or the first of its workers has died: what was
/// started goes on either way. A worker that has done its work, or ended with exit code 0, is no
/// failure.
pub(crate) fn launch_app(home: &Home, spec: &AppSpec) -> Result<Outcome, Failure> {
    let name = &spec.name;
    free_name(home, name)?;
    primary_process::start(home, spec, None)?;
    let progress = Progress::start(name, "waiting for the workers to be ready");
    loop {
        let mut death: Option<Notice> = None;
        let mut client = probe::connect(home, name)?;
        let reply = client.ask_until(&Request::WaitReady, Some(LOOK_EVERY), |notice| {
            progress.notice(notice);
            if notice.event != NoticeKind::WorkerFailed {
                return ControlFlow::Continue(());
            }
            death = Some(notice.clone());
            ControlFlow::Break(())
        });
        match (reply, death) {
            (_, Some(death)) => return ended(spec, &death),
            (Ok(Some(Reply::Done { message, .. })), _) => {
                return described(home, name, &message, spec.instances);
            }
            (Ok(Some(other)), _) => return Err(Failure::unexpected_reply(name, other)),
            (Ok(None), None) => return Ok(Outcome::new("starts in the background")),
            (Err(ClientError::TimedOut { .. }), None) => {}
            (Err(error), None) => return Err(error.into()),
        }
        // The worker may have died before this command listened.
        if let Some(death) = death_before(home, name)? {
            return ended(spec, &death);
        }
    }
}

/// The newest death of a worker, if one of this app has died.
fn death_before(home: &Home, name: &str) -> Result<Option<Notice>, Failure> {
    let has_died = |worker: &WorkerStatus| worker.restarts > 0 || worker.next_try_ms.is_some();
    let status = probe::status(home, name)?;
    if !status.is_some_and(|app| app.workers.iter().any(has_died)) {
        return Ok(None);
    }
    let events = events::kept(home, name).unwrap_or_default();
    Ok(events.into_iter().rfind(|one| one.event == NoticeKind::WorkerFailed))
}

/// What becomes of a start whose worker has died.
fn ended(spec: &AppSpec, death: &Notice) -> Result<Outcome, Failure> {
    if let Some(code) = death.exit_code.filter(|code| *code == 0 || spec.restart.is_done(*code)) {
        return Ok(Outcome::new(format!("started; its worker has ended with exit code {code}")));
    }
    let reason = format!("{}: {}", spec.name, one_line(death));
    Err(Failure { last_lines: death.last_lines.clone(), ..Failure::failed(reason) })
}

/// The app that is up, as a result.
fn described(
    home: &Home,
    name: &str,
    message: &str,
    instances: Instances,
) -> Result<Outcome, Failure> {
    let status = probe::status(home, name)?;
    let up = status.as_ref().filter(|status| status.status != Status::Stopped);
    let text = up.map_or_else(
        || without_name(name, message).to_owned(),
        |status| summary(status, instances),
    );
    Ok(Outcome { status, ..Outcome::new(text) })
}

/// Waits until the app is ready, and describes it.
pub(crate) fn wait_ready(
    home: &Home,
    name: &str,
    wait: &WaitOptions,
    instances: Instances,
) -> Result<Outcome, Failure> {
    let mut client = probe::connect(home, name)?;
    let progress = Progress::start(name, "waiting for the workers to be ready");
    let reply = client.ask(&Request::WaitReady, wait.timeout, |notice| progress.notice(notice));
    drop(progress);
    match reply {
        Ok(Reply::Done { message, .. }) => described(home, name, &message, instances),
        Ok(other) => Err(Failure::unexpected_reply(name, other)),
        Err(error) => {
            let mut failure = Failure::from(error);
            if let (Exit::TimedOut, Some(after)) = (failure.exit, wait.timeout) {
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
    let own: BTreeSet<&str> = status
        .workers
        .iter()
        .flat_map(|worker| worker.own_listeners.iter().map(String::as_str))
        .collect();
    let place = match (addresses.is_empty(), own.is_empty()) {
        (false, _) => format!(" on {}", addresses.join(", ")),
        (true, false) => {
            let own: Vec<&str> = own.into_iter().collect();
            format!(" on {}, with sockets of their own", own.join(", "))
        }
        (true, true) => ", listening on nothing".to_owned(),
    };
    let because = match instances {
        Instances::Count(_) => String::new(),
        _ => format!(" ({}: {})", status.wanted, status.wanted_because),
    };
    let notes: String = status.notes.iter().map(|note| format!("\n  note: {note}")).collect();
    format!("{workers}{place}{because}{notes}")
}

/// Deletes an app of this name if it is stopped or has failed. Fails if it runs.
pub(crate) fn free_name(home: &Home, name: &str) -> Result<(), Failure> {
    match probe::probe(home, name)? {
        AppState::Absent => Ok(()),
        AppState::Stranded(workers) => Err(workers.failure(name)),
        AppState::Silent(status) => Err(Failure::failed(format!(
            "{name} is there already: {}; wait for it, or use --name for another app",
            status.reason.unwrap_or_default()
        ))),
        AppState::Answers(status) if is_idle(&status) => {
            let wait = WaitOptions { timeout: Some(EXIT_TIMEOUT), ..WaitOptions::default() };
            let activity = "deleting the stopped app of that name";
            ask(home, name, &Request::Delete { fast: true }, activity, &wait)?;
            probe::wait_for_end(home, name, EXIT_TIMEOUT)
        }
        AppState::Answers(status) => Err(running(&status)),
    }
}

/// Whether an app has no workers and will start none by itself.
pub(crate) fn is_idle(status: &AppStatus) -> bool {
    matches!(status.status, Status::Stopped | Status::Errored)
        && status.workers.iter().all(|worker| worker.pid.is_none())
}

/// The failure of a start, because the app runs.
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

/// Starts the workers of a stopped app, and waits until they are ready as `wait` says.
pub(crate) fn start_stopped(
    home: &Home,
    name: &str,
    wait: &WaitOptions,
) -> Result<Outcome, Failure> {
    let instances = match probe::probe(home, name)? {
        AppState::Answers(status) if !is_idle(&status) && status.status != Status::Stopping => {
            return Err(running(&status));
        }
        AppState::Absent => return Err(probe::no_such_app(name)),
        AppState::Stranded(workers) => return Err(workers.failure(name)),
        // A plain count is not explained again: the first start did that.
        AppState::Answers(_) | AppState::Silent(_) => Instances::Count(1),
    };
    let outcome = ask(home, name, &Request::Start, "starting", wait)?;
    if wait.no_wait {
        return Ok(outcome);
    }
    wait_ready(home, name, wait, instances)
}

#[cfg(test)]
mod tests;
