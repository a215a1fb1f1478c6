//! Kills primaries and waits for their successors.

use std::time::Duration;

use ipc::control::AppStatus;
use nix::sys::signal::Signal;

use crate::wait::{try_until, wait_until};
use crate::{Home, process};

/// How long a successor may take on the busiest machine.
const SOON: Duration = Duration::from_secs(60);

/// A number from the environment, for runs that do more than the usual.
pub fn from_env(name: &str, usual: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        Err(_) => usual,
    }
}

impl Home {
    /// What `list` shows of this app. `None` if it does not list the app.
    pub fn listed(&self, name: &str) -> Option<AppStatus> {
        let outcome = self.run(&["list", "--json"]);
        let apps: Vec<AppStatus> = serde_json::from_str(&outcome.stdout).ok()?;
        apps.into_iter().find(|app| app.name == name)
    }

    /// Leaves the home as a reboot would: no process, and no folder of sockets.
    pub fn go_down(&self) {
        let gone = try_until(SOON, || {
            let left = process::of_home(self.path());
            left.iter().for_each(|one| process::kill(one.pid, Signal::SIGKILL));
            left.is_empty().then_some(())
        });
        assert!(gone.is_some(), "a process cannot be killed");
        std::fs::remove_dir_all(self.path().join("run")).expect("remove the folder of sockets");
    }

    /// Kills the primary, waits for its successor, and returns what `list` then shows.
    pub fn kill_primary(&self, name: &str, signal: Signal) -> AppStatus {
        let listed = || self.listed(name).filter(|app| app.primary_pid != 0);
        let before = wait_until("a primary", SOON, listed);
        process::kill(before.primary_pid, signal);
        wait_until("another primary to be listed", SOON, || {
            let app = listed()?;
            // A Rust program survives the first SIGSEGV or SIGBUS that another process sends it.
            if app.primary_pid == before.primary_pid && process::is_alive(app.primary_pid) {
                process::kill(before.primary_pid, signal);
            }
            (app.primary_pid != before.primary_pid).then_some(app)
        })
    }
}
