//! The service manager above us, if there is one (systemd, or whoever sets NOTIFY_SOCKET): it is
//! told how the app is, that the loop turns (WATCHDOG), and when something takes longer, as in
//! sd_notify(3). What cannot be said is said to the log once; nobody waits for it.

pub(super) mod activation;
pub(super) mod fdstore;

use std::time::Duration;

use ipc::control::{AppStatus, Status, WorkerStatus};
use systemd::notify::Notifier;

use self::activation::Lent;
use super::Runtime;
use crate::base::time::Time;
use crate::sys::clock;
use crate::sys::pidfd::Pid;

/// While something is under way, the manager's own timeouts are put off this often…
const EXTEND_EVERY: Duration = Duration::from_secs(5);
/// … by so much. Everything that is under way has a timeout of its own.
const EXTEND_BY: Duration = Duration::from_secs(20);

/// What the manager knows of us.
#[derive(Debug)]
pub(crate) struct Manager {
    /// What is to be said to it, by the keeper: it listens to its main process only.
    words: Vec<String>,
    /// The loop must be heard of within twice this.
    watchdog: Option<Duration>,
    next_watchdog: Option<Time>,
    next_extension: Option<Time>,
    phase: Phase,
    /// The last STATUS.
    said: String,
    /// Something happened since it was last told.
    stale: bool,
    failed: bool,
    keeps_store: bool,
}

/// What the manager thinks we are doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Serving,
    Reloading,
    Stopping,
}

impl Manager {
    /// `None`: there is none. An address that cannot be used is an error text.
    pub(super) fn above(now: Time, keeper: Pid) -> Result<Option<Self>, String> {
        match Notifier::from_env() {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(error) => return Err(format!("cannot tell the service manager anything: {error}")),
        }
        let watchdog = systemd::notify::watchdog(|key| std::env::var(key).ok(), keeper.0);
        let watchdog = watchdog.map(|within| within / 2);
        Ok(Some(Self {
            words: Vec::new(),
            watchdog,
            next_watchdog: watchdog.map(|_| now),
            next_extension: None,
            phase: Phase::Starting,
            said: String::new(),
            stale: true,
            failed: false,
            keeps_store: std::env::var("FDSTORE").map_or(true, |most| most != "0"),
        }))
    }

    /// Whether it may keep descriptors (`FileDescriptorStoreMax=`). systemd says so since 254; an
    /// older one that does not closes what it is given.
    pub(super) fn keeps_store(&self) -> bool {
        self.keeps_store
    }

    /// The app is up, as far as it knows.
    pub(super) fn is_up(&self) -> bool {
        self.phase != Phase::Starting
    }

    /// Has it let go of one.
    pub(super) fn forget(&mut self, name: &str) {
        self.say(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.next_watchdog.into_iter().chain(self.next_extension).min()
    }

    /// Something happened that may be worth telling.
    pub(super) fn look_again(&mut self) {
        self.stale = true;
    }

    /// SIGHUP came: with Type=notify-reload the manager now waits for these words.
    pub(super) fn reload_asked(&mut self, now: Time) {
        if self.phase == Phase::Serving {
            self.phase = Phase::Reloading;
            self.stale = true;
            self.say(&reloading(now));
        }
    }

    /// What is due by the clock. How long the loop may be silent, where it was said that it turns.
    fn turn(&mut self, now: Time) -> Option<Duration> {
        let mut words = String::new();
        let mut alive = None;
        if self.next_watchdog.is_some_and(|at| at <= now) {
            self.next_watchdog = self.watchdog.map(|every| now + every);
            alive = self.watchdog.map(|every| every * 3 / 2);
            words.push_str("WATCHDOG=1\n");
        }
        if self.next_extension.is_some_and(|at| at <= now) {
            self.next_extension = Some(now + EXTEND_EVERY);
            words.push_str(&format!("EXTEND_TIMEOUT_USEC={}\n", EXTEND_BY.as_micros()));
        }
        if !words.is_empty() {
            self.say(&words);
        }
        alive
    }

    /// Says what is new about the app.
    fn tell(&mut self, app: &AppStatus, now: Time) {
        self.stale = false;
        let next = phase(self.phase, app);
        let mut words = String::new();
        if next != self.phase {
            match next {
                Phase::Starting => {}
                Phase::Serving => words.push_str("READY=1\n"),
                Phase::Reloading => words.push_str(&reloading(now)),
                Phase::Stopping => words.push_str("STOPPING=1\n"),
            }
            self.phase = next;
        }
        self.next_extension = match next {
            Phase::Serving => None,
            Phase::Starting | Phase::Reloading | Phase::Stopping => {
                Some(self.next_extension.unwrap_or(now))
            }
        };
        let status = status_line(app);
        if status != self.said {
            words.push_str(&format!("STATUS={status}\n"));
            self.said = status;
        }
        if !words.is_empty() {
            self.say(&words);
        }
    }

    fn say(&mut self, words: &str) {
        self.words.push(words.to_owned());
    }

    /// It could not be told. Said once.
    pub(super) fn failed(&mut self, error: &std::io::Error) {
        if !std::mem::replace(&mut self.failed, true) {
            eprintln!("cannot tell the service manager: {error}");
        }
    }
}

fn reloading(now: Time) -> String {
    format!("RELOADING=1\nMONOTONIC_USEC={}\n", now.0 / 1000)
}

fn phase(before: Phase, app: &AppStatus) -> Phase {
    match app.status {
        Status::Stopping => Phase::Stopping,
        Status::Reloading => Phase::Reloading,
        Status::Ready => Phase::Serving,
        Status::Degraded | Status::Errored if before != Phase::Starting => Phase::Serving,
        // Some serve and no more will for now: that is up, though not well.
        Status::Degraded if app.ready > 0 && !app.workers.iter().any(is_coming) => Phase::Serving,
        // Stopped by request while the primary stays: still a service that answers commands.
        Status::Stopped if before != Phase::Starting => Phase::Serving,
        Status::Starting if before == Phase::Serving => Phase::Serving,
        Status::Starting | Status::Degraded | Status::Errored | Status::Stopped | Status::Lost => {
            before
        }
    }
}

fn is_coming(worker: &WorkerStatus) -> bool {
    matches!(worker.state.as_str(), "spawning" | "starting" | "waiting")
}

/// `2/2 workers ready, generation 3; last reload: …`
fn status_line(app: &AppStatus) -> String {
    let AppStatus { ready, wanted, generation, .. } = app;
    let mut line = format!("{ready}/{wanted} workers ready, generation {generation}");
    if let Some(reason) = &app.reason {
        line.push_str(&format!("; {reason}"));
    }
    if let Some(last) = &app.last_reload {
        line.push_str(&format!("; last reload: {last}"));
    }
    line.replace('\n', " ")
}

impl Runtime {
    /// Finds out whether there is a service manager, and takes the sockets it passed. One that runs in the background was not
    /// started by it, whoever typed the command that started it.
    pub(super) fn meet_manager(&mut self) {
        let (lent, complaints) = Lent::take(self.keeper.keeper(), &mut self.store);
        self.listeners.lent = lent;
        complaints.into_iter().for_each(|complaint| self.note(complaint));
        self.find_manager();
    }

    /// Finds out whether there is a service manager.
    pub(super) fn find_manager(&mut self) {
        match Manager::above(self.succession.started, self.keeper.keeper()) {
            Ok(manager) => self.manager = manager,
            Err(why) => self.note(why),
        }
    }

    /// Tells the service manager what it does not know, where there is one.
    pub(super) fn tell_manager(&mut self) {
        let Some(manager) = &mut self.manager else { return };
        let now = clock::now();
        if manager.stale {
            manager.tell(&self.core.status(now), now);
        }
        let alive = manager.turn(now);
        // The keeper is quicker than the manager, who would start everything anew. A keeper that
        // is gone need not be told.
        let _ = alive.map(|within| self.keeper.alive(within));
        for words in std::mem::take(&mut manager.words) {
            if let Err(error) = self.keeper.tell(&words, None) {
                manager.failed(&error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use config::spec::AppSpec;

    use super::*;

    fn app(status: Status, ready: u16) -> AppStatus {
        let spec = AppSpec::new("web", vec!["true".into()], "/".into());
        let core = crate::primary::Primary::new(std::sync::Arc::new(spec), 1);
        AppStatus { status, ready, ..core.status(Time(0)) }
    }

    #[test]
    fn an_app_is_up_when_it_serves_and_stays_up_whatever_happens_to_its_workers() {
        use Phase::{Reloading, Serving, Starting, Stopping};
        for (before, status, ready, after) in [
            (Starting, Status::Starting, 0, Starting),
            (Starting, Status::Errored, 0, Starting),
            (Starting, Status::Degraded, 0, Starting),
            (Starting, Status::Degraded, 1, Serving),
            (Starting, Status::Ready, 2, Serving),
            (Serving, Status::Degraded, 0, Serving),
            (Serving, Status::Reloading, 2, Reloading),
            (Reloading, Status::Ready, 2, Serving),
            (Reloading, Status::Degraded, 1, Serving),
            (Serving, Status::Stopping, 2, Stopping),
            (Serving, Status::Stopped, 0, Serving),
        ] {
            assert_eq!(phase(before, &app(status, ready)), after, "{before:?}, {status:?} {ready}");
        }
    }

    #[test]
    fn the_status_is_one_line() {
        let mut one = app(Status::Degraded, 1);
        one.reason = Some("slot 1: exit code 1\nsecond line".to_owned());
        one.last_reload = Some("done".to_owned());
        assert_eq!(
            status_line(&one),
            "1/1 workers ready, generation 1; slot 1: exit code 1 second line; last reload: done"
        );
    }
}
