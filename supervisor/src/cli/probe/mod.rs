//! Looks at an app from outside: does its primary answer, hang, or is it gone?
//!
//! What a dead primary left behind is cleaned up in passing, unless its workers still live.

use std::io::ErrorKind;
use std::time::Duration;

use config::spec::AppSpec;
use ipc::control::{AppStatus, ListenerStatus, Reply, Request, Status, WorkerState, WorkerStatus};

use super::ask::refused;
use super::exit::{Exit, Failure};
use super::stranded::Lost;
use crate::client::{Client, ClientError};
use crate::home::{Home, Record};

/// How long a primary may take to tell its state before it is shown as silent.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is to be seen of an app.
#[derive(Debug)]
pub(crate) enum Seen {
    /// There is no such app.
    Nothing,
    /// The primary's own words.
    Status(Box<AppStatus>),
    /// The primary lives but does not answer; what is known without it.
    Silent(Box<AppStatus>),
    /// The primary is gone and workers of it live.
    Lost(Box<Lost>),
}

/// Looks at one app.
pub(crate) fn look(home: &Home, name: &str) -> Result<Seen, Failure> {
    // A primary that ends while it answers is looked at once more.
    for _ in 0..2 {
        let asked = Client::connect(home, name)
            .and_then(|mut client| client.ask(&Request::Status, Some(PATIENCE), |_| {}));
        return match asked {
            Ok(Reply::Status(status)) => Ok(Seen::Status(status)),
            Ok(Reply::Failed { kind, reason, last_lines }) => {
                Err(refused(name, kind, &reason, last_lines))
            }
            Ok(_) => Err(Failure::failed(format!(
                "the primary of {name} answered something else than its status"
            ))),
            Err(ClientError::Ended { .. }) => continue,
            Err(ClientError::NoSuchApp(_) | ClientError::NobodyListens { .. }) => {
                look_without_socket(home, name)
            }
            Err(error @ ClientError::TimedOut { .. }) => Ok(silent(home, name, &error.to_string())),
            Err(error) => Err(error.into()),
        };
    }
    look_without_socket(home, name)
}

/// Like [`look`], in the form of a status; `None`: there is no such app.
pub(crate) fn status(home: &Home, name: &str) -> Result<Option<AppStatus>, Failure> {
    Ok(match look(home, name)? {
        Seen::Nothing => None,
        Seen::Status(status) | Seen::Silent(status) => Some(*status),
        Seen::Lost(lost) => Some(lost.status(name)),
    })
}

/// Connects to the primary of `name`, or says what is the matter with it.
pub(crate) fn connect(home: &Home, name: &str) -> Result<Client, Failure> {
    match Client::connect(home, name) {
        Ok(client) => Ok(client),
        Err(ClientError::NoSuchApp(_) | ClientError::NobodyListens { .. }) => {
            Err(match look_without_socket(home, name)? {
                Seen::Lost(lost) => Failure::failed(format!("{name}: {}", lost.reason(name))),
                Seen::Silent(status) => {
                    let reason = status.reason.unwrap_or_default();
                    Failure::failed(format!("{name}: {reason}; try again in a moment"))
                }
                Seen::Nothing | Seen::Status(_) => no_such_app(name),
            })
        }
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn no_such_app(name: &str) -> Failure {
    ClientError::NoSuchApp(name.to_owned()).into()
}

/// Nobody answers on the socket: is the primary just starting, or gone?
fn look_without_socket(home: &Home, name: &str) -> Result<Seen, Failure> {
    let left = [home.socket(name)?, home.lock(name), home.record(name)];
    if !left.iter().any(|path| path.exists()) {
        return Ok(Seen::Nothing);
    }
    // After a boot the record may be there and the run folder not.
    home.prepare()?;
    let taken = home.take_lock(name).map_err(|error| {
        Failure::io(format_args!("cannot take the lock {}", home.lock(name).display()), &error)
    })?;
    let Some(held) = taken else {
        return Ok(silent(home, name, "the primary holds its lock but has no socket yet"));
    };
    match home.read_record(name).and_then(Lost::new) {
        Some(lost) => Ok(Seen::Lost(Box::new(lost))),
        None => {
            home.remove_leftovers(name, &held)?;
            Ok(Seen::Nothing)
        }
    }
}

fn silent(home: &Home, name: &str, reason: &str) -> Seen {
    let status = match home.read_record(name) {
        Some(record) => from_record(name, &record, Status::Degraded, reason),
        None => {
            let spec = AppSpec::new(name, Vec::new(), "/".into());
            let record = Record { primary_pid: 0, workers: Vec::new(), spec };
            from_record(name, &record, Status::Starting, reason)
        }
    };
    Seen::Silent(Box::new(status))
}

/// A status from what the primary wrote down.
pub(crate) fn from_record(name: &str, record: &Record, status: Status, reason: &str) -> AppStatus {
    let spec = &record.spec;
    let listeners = spec.listen.iter().map(|listen| ListenerStatus {
        address: listen.address.to_string(),
        name: Some(listen.name.clone()),
        configured: true,
        sockets: 0,
        slots: Vec::new(),
        backlog: 0,
        ..ListenerStatus::default()
    });
    let workers = record.workers.iter().map(|worker| WorkerStatus {
        worker: None,
        slot: worker.slot,
        pool: None,
        pid: Some(worker.pid),
        generation: worker.generation,
        state: WorkerState::Unknown,
        reason: None,
        contract: Vec::new(),
        status_text: None,
        restarts: 0,
        uptime_ms: None,
        rss_bytes: None,
        cpu_percent: None,
        connections: None,
        accepted: None,
        backlog: None,
        last_exit: None,
    });
    AppStatus {
        name: name.to_owned(),
        status,
        reason: Some(reason.to_owned()),
        primary_pid: record.primary_pid,
        keeper_pid: None,
        primary_deaths: 0,
        version: "unknown".to_owned(),
        generation: record.workers.iter().map(|worker| worker.generation).max().unwrap_or(0),
        balance: spec.balance,
        engine: "unknown".to_owned(),
        notes: Vec::new(),
        command: spec.command.clone(),
        cwd: spec.cwd.display().to_string(),
        source: spec.source.as_ref().map(|path| path.display().to_string()),
        logs: Vec::new(),
        listeners: listeners.collect(),
        wanted: spec.total(),
        wanted_because: spec.wanted_because.clone(),
        ready: 0,
        restarts: 0,
        uptime_ms: 0,
        last_reload: None,
        workers: workers.collect(),
        pools: Vec::new(),
    }
}

/// Why nothing more can be done about `name` now, if that is so: it waits for the lock of a
/// primary that is about to end.
pub(crate) fn wait_for_end(home: &Home, name: &str, patience: Duration) -> Result<(), Failure> {
    const STEP: Duration = Duration::from_millis(10);
    let mut left = patience;
    while home.lock(name).exists() {
        let taken = match home.take_lock(name) {
            // An operator cannot take it, but sees when it is gone.
            Err(error) if error.kind() == ErrorKind::PermissionDenied && home.is_others() => None,
            taken => taken.map_err(|error| {
                Failure::io(format_args!("cannot take the lock of {name}"), &error)
            })?,
        };
        if let Some(held) = taken {
            return Ok(home.remove_leftovers(name, &held)?);
        }
        if left.is_zero() {
            return Err(Failure::new(
                Exit::TimedOut,
                format!("the primary of {name} said it is done but does not end"),
            ));
        }
        super::output::pause(STEP);
        left = left.saturating_sub(STEP);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
