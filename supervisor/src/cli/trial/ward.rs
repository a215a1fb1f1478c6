//! What must be cleared away when a trial ends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ipc::control::Request;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::stopped::Group;
use crate::cli::args::WaitOptions;
use crate::cli::deletion::delete;
use crate::cli::exit::Failure;
use crate::cli::files::logs;
use crate::cli::output::{note, pause};
use crate::cli::targets::{ask, probe, running_spec};
use crate::home::Home;

/// How long the end of an app may take.
const END_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a primary may take to be up whose start was broken off, and how often it is looked for.
const STARTS_WITHIN: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One thing to clear away, or that it needs no clearing any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Duty {
    /// Delete this app of the trial's own. `is_starting`: it may not be there yet.
    App { name: String, keep_logs: bool, is_starting: bool },
    /// It is deleted.
    AppIsGone { name: String },
    /// Give this app of the user's so many workers back.
    Workers { name: String, wanted: u16, because: String },
    /// Let the processes of this worker go on.
    Stopped { worker: u32 },
    /// They do.
    GoesOn { worker: u32 },
    /// Kill the processes of the group that this process leads.
    Group { leader: u32 },
    /// They are gone.
    GroupIsGone { leader: u32 },
    /// Remove this folder.
    Folder { path: PathBuf },
}

/// All that is to be cleared away.
#[derive(Debug)]
pub(super) struct Ward {
    home: Home,
    /// Of each: whether its logs stay, and whether it is just starting.
    apps: BTreeMap<String, (bool, bool)>,
    workers: BTreeMap<String, (u16, String)>,
    stopped: BTreeMap<u32, Group>,
    groups: BTreeMap<u32, Group>,
    folders: Vec<PathBuf>,
}

impl Ward {
    pub(super) fn new(home: Home) -> Self {
        Self {
            home,
            apps: BTreeMap::new(),
            workers: BTreeMap::new(),
            stopped: BTreeMap::new(),
            groups: BTreeMap::new(),
            folders: Vec::new(),
        }
    }

    /// Whether this app is to be deleted.
    pub(super) fn deletes(&self, name: &str) -> bool {
        self.apps.contains_key(name)
    }

    pub(super) fn take(&mut self, duty: Duty) {
        match duty {
            Duty::App { name, keep_logs, is_starting } => {
                self.apps.insert(name, (keep_logs, is_starting));
            }
            Duty::AppIsGone { name } => _ = self.apps.remove(&name),
            Duty::Workers { name, wanted, because } => {
                self.workers.insert(name, (wanted, because));
            }
            // A process that has ended already needs nothing.
            Duty::Stopped { worker } => {
                self.stopped.extend(Group::led_by(worker).ok().map(|group| (worker, group)));
            }
            Duty::GoesOn { worker } => _ = self.stopped.remove(&worker),
            Duty::Group { leader } => {
                self.groups.extend(Group::led_by(leader).ok().map(|group| (leader, group)));
            }
            Duty::GroupIsGone { leader } => _ = self.groups.remove(&leader),
            Duty::Folder { path } => self.folders.push(path),
        }
    }

    /// Clears everything away. What cannot be is told.
    pub(super) fn clear(&mut self) {
        for group in std::mem::take(&mut self.stopped).into_values() {
            // A worker that is gone needs nothing.
            let _ = group.signal(Signal::SIGCONT);
        }
        for group in std::mem::take(&mut self.groups).into_values() {
            if let Err(error) = group.signal(Signal::SIGKILL) {
                note(format_args!("supervisor: cannot kill what the trial has started: {error}"));
            }
        }
        for (name, (keep_logs, is_starting)) in std::mem::take(&mut self.apps) {
            if is_starting {
                await_app(&self.home, &name);
            }
            if let Err(failure) = remove_app(&self.home, &name, keep_logs) {
                note(format_args!(
                    "supervisor: {name} is still there ({}): \"supervisor delete {name} --fast\" \
                     removes it",
                    failure.reason
                ));
            }
        }
        for (name, (wanted, because)) in std::mem::take(&mut self.workers) {
            if let Err(failure) = restore(&self.home, &name, wanted, &because) {
                note(format_args!(
                    "supervisor: cannot give {name} its {wanted} workers back: {}",
                    failure.reason
                ));
            }
        }
        for folder in std::mem::take(&mut self.folders) {
            // It lies in the folder for temporary files.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Waits until the primary of an app is up whose start was broken off.
fn await_app(home: &Home, name: &str) {
    let end = Instant::now() + STARTS_WITHIN;
    while Instant::now() < end && !matches!(probe::status(home, name), Ok(Some(_))) {
        pause(LOOK_EVERY);
    }
}

/// Deletes an app at once. None of that name is no error.
pub(super) fn remove_app(home: &Home, name: &str, keep_logs: bool) -> Result<(), Failure> {
    let wait = WaitOptions { timeout: Some(END_TIMEOUT), ..WaitOptions::default() };
    match probe::status(home, name)? {
        Some(_) => delete(home, name, true, &wait)?,
        None => return Ok(()),
    };
    match keep_logs {
        true => Ok(()),
        false => logs::remove(home, name, &[]),
    }
}

/// Gives a running app the number of workers that it had, if it has another one.
fn restore(home: &Home, name: &str, wanted: u16, because: &str) -> Result<(), Failure> {
    if running_spec(home, name)?.wanted == wanted {
        return Ok(());
    }
    let request = Request::Scale { wanted, because: because.to_owned(), pool: None };
    let wait = WaitOptions { no_wait: true, ..WaitOptions::default() };
    ask(home, name, &request, "scaling", &wait).map(drop)
}
