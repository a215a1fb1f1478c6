//! The state of an app as another process sees it: its primary answers, hangs, or is dead.
//!
//! A probe removes the files of a dead primary, unless workers of it still run.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use config::spec::AppSpec;
use ipc::control::{AppStatus, FailureKind, Reply, Request, Status};

use super::recorded;
use super::stranded::StrandedWorkers;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output;
use crate::cli::side_by_side::{Work, side_by_side};
use crate::client::{Client, ClientError};
use crate::home::{Home, Record};
use crate::sys::procfs;

/// How long a primary may take to send its status. After that it counts as silent.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a living primary may take to make its socket again.
const RETURN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a primary may take between its lock and its socket, when it begins or ends.
const MOMENT: Duration = Duration::from_secs(1);

/// What a probe found.
#[derive(Debug)]
pub(crate) enum AppState {
    /// There is no such app.
    Absent,
    /// The primary sent its status.
    Answers(Box<AppStatus>),
    /// The primary runs and does not answer. The status comes from its record.
    Silent(Box<AppStatus>),
    /// The primary is dead, and workers of it still run.
    Stranded(Box<StrandedWorkers>),
}

/// Probes one app. Fails if its primary refuses this user, or cannot be reached for another reason
/// than those of [`AppState`].
pub(crate) fn probe(home: &Home, name: &str) -> Result<AppState, Failure> {
    // If the primary ends while it answers, the second attempt sees what became of the app.
    for _ in 0..2 {
        let asked = Client::connect(home, name)
            .and_then(|mut client| client.ask(&Request::Status, Some(STATUS_TIMEOUT), |_| {}));
        return match asked {
            Ok(Reply::Status(status)) => Ok(AppState::Answers(status)),
            Ok(Reply::Failed { kind: FailureKind::Ended, .. }) => continue,
            Ok(other) => Err(Failure::unexpected_reply(name, other)),
            Err(ClientError::Ended { .. }) => continue,
            Err(ClientError::NoSuchApp(_) | ClientError::NobodyListens { .. }) => {
                if comes_back(home, name) || begins(home, name) {
                    continue;
                }
                probe_files(home, name)
            }
            Err(error @ ClientError::TimedOut { .. }) => Ok(silent(home, name, &error.to_string())),
            Err(error) => Err(error.into()),
        };
    }
    probe_files(home, name)
}

/// Like [`probe`], as a status; `None` if there is no such app.
pub(crate) fn status(home: &Home, name: &str) -> Result<Option<AppStatus>, Failure> {
    Ok(match probe(home, name)? {
        AppState::Absent => None,
        AppState::Answers(status) | AppState::Silent(status) => Some(*status),
        AppState::Stranded(workers) => Some(workers.status(name)),
    })
}

/// The status of each app, in the order of `names`. An app that hangs does not delay the others.
pub(crate) fn statuses(home: &Home, names: &[String]) -> Vec<Result<Option<AppStatus>, Failure>> {
    let mut results = Vec::with_capacity(names.len());
    side_by_side(Work::Waits, names, |name| status(home, name), |_, found| results.push(found));
    results
}

/// Connects to the primary of `name`. Fails with the state of the app if nothing accepts.
pub(crate) fn connect(home: &Home, name: &str) -> Result<Client, Failure> {
    let mut connected = Client::connect(home, name);
    if let Err(ClientError::NoSuchApp(_) | ClientError::NobodyListens { .. }) = connected
        && comes_back(home, name)
    {
        connected = Client::connect(home, name);
    }
    match connected {
        Ok(client) => Ok(client),
        Err(ClientError::NoSuchApp(_) | ClientError::NobodyListens { .. }) => {
            Err(match probe_files(home, name)? {
                AppState::Stranded(workers) => workers.failure(name),
                AppState::Silent(status) => {
                    let reason = status.reason.unwrap_or_default();
                    Failure::failed(format!("{name}: {reason}; try again in a moment"))
                }
                AppState::Absent | AppState::Answers(_) => no_such_app(name),
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// The state of an app that must exist.
pub(crate) fn existing(home: &Home, name: &str) -> Result<AppStatus, Failure> {
    status(home, name)?.ok_or_else(|| no_such_app(name))
}

/// The failure of a command for an app that does not exist.
pub(crate) fn no_such_app(name: &str) -> Failure {
    ClientError::NoSuchApp(name.to_owned()).into()
}

/// Waits for a primary whose socket was removed to make it again. `false`: it does not, or no such
/// primary runs.
fn comes_back(home: &Home, name: &str) -> bool {
    let lives = || home.read_record(name).is_some_and(|record| record.primary_lives());
    accepts_soon(home, name, RETURN_TIMEOUT, lives)
}

/// Waits for a primary that has its lock and no socket: one that begins makes its socket, and one
/// that ends gives the lock back, both in a moment. Whether it begins.
fn begins(home: &Home, name: &str) -> bool {
    let is_held = || {
        let files = home.files(name);
        files.lock().exists() && matches!(files.take_lock(), Ok(None))
    };
    accepts_soon(home, name, MOMENT, is_held)
}

/// Waits, at most for `left`, until a primary accepts on the socket of this app. `false`: it does
/// not, or `runs` says that there is no primary any more.
fn accepts_soon(home: &Home, name: &str, mut left: Duration, runs: impl Fn() -> bool) -> bool {
    const INTERVAL: Duration = Duration::from_millis(20);
    while runs() {
        if home.files(name).socket().is_ok_and(|path| UnixStream::connect(path).is_ok()) {
            return true;
        }
        if left.is_zero() {
            return false;
        }
        output::pause(INTERVAL);
        left = left.saturating_sub(INTERVAL);
    }
    false
}

/// Nothing accepts on the socket: tells from lock and record whether the primary is starting or
/// dead.
fn probe_files(home: &Home, name: &str) -> Result<AppState, Failure> {
    let files = home.files(name);
    files.socket()?;
    if !files.exist() {
        return Ok(AppState::Absent);
    }
    if let Some(record) = home.read_record(name).filter(Record::primary_lives) {
        let (pid, run) = (record.primary_pid, record.run.unwrap_or_default());
        let reason = format!(
            "the primary (pid {pid}) runs, but its socket in {} was removed and it cannot make \
             it again: see its log; \"kill {pid}\" stops the app",
            run.display()
        );
        return Ok(silent(home, name, &reason));
    }
    // After a reboot the record exists and the run folder does not.
    home.prepare()?;
    let taken = files.take_lock().map_err(|error| {
        Failure::io(format_args!("cannot take the lock {}", files.lock().display()), &error)
    })?;
    let Some(held) = taken else {
        return Ok(silent(home, name, "the primary holds its lock but has no socket yet"));
    };
    match home.read_record(name).and_then(StrandedWorkers::of) {
        Some(workers) => Ok(AppState::Stranded(Box::new(workers))),
        None => {
            files.remove(&held)?;
            Ok(AppState::Absent)
        }
    }
}

/// The state of a primary that runs and does not answer.
fn silent(home: &Home, name: &str, reason: &str) -> AppState {
    let status = match home.read_record(name) {
        Some(record) => {
            let reason = match procfs::is_stopped(record.primary_pid) {
                true => format!(
                    "{reason}: a signal has stopped it (pid {pid}); \"kill -CONT {pid}\" lets it go on",
                    pid = record.primary_pid
                ),
                false => reason.to_owned(),
            };
            recorded::status(name, &record, Status::Unresponsive, &reason)
        }
        None => {
            let spec = AppSpec::new(name, Vec::new(), "/".into());
            let record = Record::new(0, Vec::new(), spec);
            recorded::status(name, &record, Status::Starting, reason)
        }
    };
    AppState::Silent(Box::new(status))
}

/// Waits until the primary of `name` has ended, and removes its files. Fails after `timeout`.
pub(crate) fn wait_for_end(home: &Home, name: &str, timeout: Duration) -> Result<(), Failure> {
    const INTERVAL: Duration = Duration::from_millis(10);
    let mut left = timeout;
    let files = home.files(name);
    while files.lock().exists() {
        let taken = match files.take_lock() {
            // An operator cannot open the lock, and sees when its file is removed.
            Err(error)
                if error.kind() == ErrorKind::PermissionDenied && home.is_of_another_user() =>
            {
                None
            }
            // Somebody removed the whole folder.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            taken => taken.map_err(|error| {
                Failure::io(format_args!("cannot take the lock of {name}"), &error)
            })?,
        };
        if let Some(held) = taken {
            return Ok(files.remove(&held)?);
        }
        if left.is_zero() {
            return Err(Failure::new(
                Exit::TimedOut,
                format!("the primary of {name} has finished but does not exit"),
            ));
        }
        output::pause(INTERVAL);
        left = left.saturating_sub(INTERVAL);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
