//! An app that is started for a trial alone.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use config::keys;
use config::spec::AppSpec;
use ipc::control::AppStatus;

use super::guard::{Duty, Guard};
use super::interrupt::Interrupt;
use super::ward;
use crate::cli::args::{AppOptions, WaitOptions};
use crate::cli::exit::Failure;
use crate::cli::launch::{start_app, wait_ready};
use crate::cli::specs::{from_options, working_dir};
use crate::cli::targets::probe::{self, AppState};
use crate::home::Home;
use crate::sys::random;

/// How long it may take to listen after it is ready.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(20);
/// How often it is asked.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// `chaos-1f0a`.
pub(crate) fn own_name(verb: &str) -> String {
    format!("{verb}-{:04x}", random::number() & 0xffff)
}

/// The app of a command line. Keys that the user does not set are those of `defaults`.
pub(crate) fn fresh(
    options: &AppOptions,
    command: &[String],
    defaults: &[(&str, &str)],
) -> Result<AppSpec, Failure> {
    let mut app = options.clone();
    for (key, value) in defaults {
        if let Some(key) = keys::find(key).filter(|key| !app.overrides.has(key.name)) {
            app.overrides.add(key, value).map_err(Failure::usage)?;
        }
    }
    from_options(&app, command.to_vec(), &[], &working_dir()?)
}

/// Fails if there is an app of this name, or logs of an earlier one: they would be removed with
/// those of the trial.
pub(crate) fn must_be_new(home: &Home, name: &str) -> Result<(), Failure> {
    let there_is = match probe::probe(home, name)? {
        AppState::Absent if home.log_dir(name).exists() => {
            format!("there are logs of an earlier app {name}")
        }
        AppState::Absent => return Ok(()),
        _ => format!("there is an app {name} already"),
    };
    Err(Failure::usage(format!("{there_is}: choose another --name, or leave it out")))
}

/// Starts the app, and waits at most this long until it is ready. A signal breaks that off.
pub(crate) fn start(
    home: &Home,
    spec: &AppSpec,
    limit: Duration,
    guard: &Guard,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let name = &spec.name;
    must_be_new(home, name)?;
    // From here on, the app is deleted whatever happens.
    let duty = |is_starting| Duty::App { name: name.clone(), keep_logs: true, is_starting };
    guard.tell(duty(true))?;
    let begun =
        start_app(home, spec, None, &WaitOptions { no_wait: true, ..WaitOptions::default() });
    guard.tell(duty(false))?;
    begun?;
    let (sender, done) = mpsc::channel();
    let (home, spec) = (home.clone(), spec.clone());
    let waits = move || {
        let wait = WaitOptions { timeout: Some(limit), ..WaitOptions::default() };
        _ = sender.send(wait_ready(&home, &spec.name, &wait, spec.instances).map(drop));
    };
    thread::Builder::new()
        .spawn(waits)
        .map_err(|error| Failure::io(format_args!("cannot start a thread for {name}"), &error))?;
    loop {
        match done.recv_timeout(LOOK_EVERY) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Timeout) if interrupt.came() => {
                return Err(Failure::failed("broken off by a signal while the app started"));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::failed(format!("the start of {name} ended without a result")));
            }
        }
    }
}

/// Deletes it before the trial ends.
pub(crate) fn delete(
    home: &Home,
    name: &str,
    keep_logs: bool,
    guard: &Guard,
) -> Result<(), Failure> {
    // An app of another's with this name is not touched.
    if !guard.deletes(name) {
        return Ok(());
    }
    ward::remove_app(home, name, keep_logs)?;
    guard.tell(Duty::AppIsGone { name: name.to_owned() })
}

/// The state of the app when it listens. A slow program may count as one that listens nowhere
/// before it does. An app that does not listen in time is shown as it is.
pub(crate) fn listening(
    home: &Home,
    name: &str,
    interrupt: &Interrupt,
) -> Result<AppStatus, Failure> {
    let end = Instant::now() + LISTEN_TIMEOUT;
    loop {
        let status = probe::existing(home, name)?;
        if !status.listeners.is_empty() || Instant::now() > end || interrupt.came() {
            return Ok(status);
        }
        interrupt.wait(LOOK_EVERY);
    }
}
