//! The primary's first moments: lock, sockets, logs; then the loop; then its last ones.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use config::spec::AppSpec;
use ipc::control::FailureKind;
use serde::Serialize;

use super::bus::Bus;
use super::clients::Clients;
use super::echo::{Echo, LogFormat};
use super::listeners::Listeners;
use super::logs::Logs;
use super::orphans::Orphans;
use super::proxied::Proxied;
use super::record::Recorder;
use super::source::Source;
use super::{Drive, LAST_WORDS};
use crate::home::Home;
use crate::limits::CHANNEL_READ;
use crate::primary::Primary;
use crate::sys::poller::Poller;
use crate::sys::procfs::Sampler;
use crate::sys::signals::Signals;
use crate::sys::{clock, daemon, random};

/// How the primary runs.
#[derive(Debug)]
pub(crate) enum Mode {
    /// Detached from whoever started it. One line of JSON goes to `report` once the control
    /// socket accepts, or instead of it.
    Daemon { report: File },
    /// In front of a person or a service manager: worker output also goes to stdout and stderr.
    Foreground { format: LogFormat },
}

/// Why the primary did not come up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// Another primary has that name.
    #[error(
        "{0} is running already: use \"supervisor reload {0}\" to replace its code, or --name for another app"
    )]
    Running(String),
    /// Something the primary needs cannot be had.
    #[error("cannot {what}: {error}")]
    Io { what: String, error: io::Error },
}

impl LaunchError {
    /// For the exit code.
    pub(crate) fn failure_kind(&self) -> FailureKind {
        match self {
            Self::Io { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                FailureKind::NotPermitted
            }
            Self::Running(_) | Self::Io { .. } => FailureKind::Failed,
        }
    }
}

/// The line in `Mode::Daemon`'s report.
#[derive(Debug, Serialize)]
struct LaunchReport {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<FailureKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Runs the app's primary until it ends; gives the exit code.
pub(crate) fn run(spec: AppSpec, home: &Home, mode: Mode) -> Result<u8, LaunchError> {
    let (report, echo) = match mode {
        Mode::Daemon { report } => (Some(report), None),
        Mode::Foreground { format } => (None, Some(format)),
    };
    let result = prepare(spec, home, echo, report.is_some());
    if let Some(mut report) = report {
        let line = LaunchReport {
            ok: result.is_ok(),
            kind: result.as_ref().err().map(LaunchError::failure_kind),
            reason: result.as_ref().err().map(LaunchError::to_string),
        };
        let line = serde_json::to_string(&line).unwrap_or_default();
        // Whoever started us may be gone; the app runs all the same.
        let _ = writeln!(report, "{line}");
    }
    let (mut drive, lock) = result?;
    let code = drive.turn_until_exit().map_err(|error| io_error("wait for events", error))?;
    // The name is free before the last answers are given: whoever waits for one may use it again.
    if let Err(error) = home.remove_leftovers(&drive.core.spec().name, &lock) {
        drive.warn(error.to_string());
    }
    drive.clients.finish(LAST_WORDS);
    drop(lock);
    Ok(code)
}

fn io_error(what: &str, error: io::Error) -> LaunchError {
    LaunchError::Io { what: what.to_owned(), error }
}

fn prepare(
    spec: AppSpec,
    home: &Home,
    echo: Option<LogFormat>,
    detach: bool,
) -> Result<(Drive, File), LaunchError> {
    let name = spec.name.clone();
    let failed = |what: &str| {
        let what = format!("{what} of {name}");
        move |error| LaunchError::Io { what, error }
    };
    home.prepare()
        .map_err(|error| io_error("prepare the folders", io::Error::other(error.to_string())))?;
    let lock = home.take_lock(&name).map_err(failed("take the lock"))?;
    let lock = lock.ok_or_else(|| LaunchError::Running(name.clone()))?;
    if detach {
        daemon::detach().map_err(failed("detach the primary"))?;
    }
    daemon::set_name(&format!("sup:{}", spec.name));
    daemon::raise_nofile().map_err(failed("raise the limit of open files"))?;
    let signals = Signals::new().map_err(failed("watch the signals"))?;
    let socket = home.socket(&spec.name).map_err(|error| {
        io_error("make the control socket", io::Error::other(error.to_string()))
    })?;
    let clients = Clients::listen(&socket).map_err(failed("make the control socket"))?;
    let poller = Poller::new().map_err(failed("make the event loop"))?;
    poller
        .add(signals.fd(), Source::Signals.token())
        .and_then(|()| poller.add(clients.listener(), Source::Control.token()))
        .map_err(failed("make the event loop"))?;
    let (out, err) = (home.out_log(&spec.name), home.err_log(&spec.name));
    let folder_made = home.prepare_logs(&name).map_err(|error| io::Error::other(error.to_string()));
    let log_paths = [&out, &err].map(|path| path.display().to_string()).to_vec();
    let (logs, opened) = Logs::open(out, err, Echo::new(name.clone(), echo));
    let core = Primary::new(Arc::new(spec), random::number());
    let mut drive = Drive {
        core: if detach { core } else { core.ending_with_workers() },
        core_due: None,
        poller,
        signals,
        inbox: VecDeque::new(),
        children: BTreeMap::new(),
        listeners: Listeners::default(),
        clients,
        logs,
        log_paths,
        recorder: Recorder::default(),
        home: home.clone(),
        manager: None,
        sampler: Sampler::new().map_err(failed("watch the processes"))?,
        started: clock::now(),
        tickets: 0,
        node_places: BTreeMap::new(),
        hand_offs: BTreeMap::new(),
        next_hand_off: 0,
        proxied: Proxied::default(),
        slow_due: None,
        answers_due: None,
        channel_bytes: vec![0; CHANNEL_READ],
        orphans: Orphans::default(),
        bus: Bus::new(name.clone()),
        held_counted: None,
        accept_again: None,
        lingering: BTreeSet::new(),
        table: None,
        notes: BTreeSet::new(),
        exit: None,
    };
    if !detach {
        drive.meet_manager();
    }
    if let Err(error) = folder_made.and(opened) {
        drive.note(format!("cannot write the log files: {error}"));
    }
    Ok((drive, lock))
}
