//! What the service manager is told (sd_notify(3)), and when: how the app is, that the loop turns,
//! and that something takes longer.
//!
//! The manager thinks in four phases; READY, RELOADING and STOPPING are the ways from one to
//! another. Once the app was up it stays up for the manager, whatever happens to its workers:
//! the app restarts them itself. Before that a reload is still a part of the start.

use std::fmt;
use std::time::Duration;

use ipc::control::{AppStatus, Status};

use crate::base::time::Time;

/// How often the manager's own timeouts are put off while something is under way: often enough
/// that two lost messages do no harm within [`EXTEND_BY`].
const EXTEND_EVERY: Duration = Duration::from_secs(5);
/// By how much they are put off. Everything that is under way has a timeout of its own.
const EXTEND_BY: Duration = Duration::from_secs(20);

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// The app is like this now. The core must have heard of everything that came before.
    App(App),
    /// SIGHUP came. With `Type=notify-reload` the manager now waits for RELOADING.
    ReloadAsked,
    /// Time has passed.
    Turn,
}

/// What the manager's view of an app follows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct App {
    status: Status,
    /// Workers that are ready.
    ready: u16,
    /// Some worker that is not ready is to be expected.
    coming: bool,
    /// One line for people.
    line: String,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Tell the manager this in one message.
    Tell(Vec<Statement>),
    /// The loop turns: the keeper should miss it only after this time.
    Alive { within: Duration },
}

/// One assignment of sd_notify(3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Statement {
    /// The app is up, or a reload is over.
    Ready,
    /// A reload began at this time.
    Reloading { at: Time },
    /// The app is being stopped.
    Stopping,
    /// How the app is, for people.
    Status(String),
    /// The loop turns.
    Watchdog,
    /// What is under way takes up to this much longer.
    ExtendTimeout(Duration),
}

/// What the manager thinks the app is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Serving,
    Reloading,
    Stopping,
}

/// What the manager knows of the app.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    /// How often the manager hears that the loop turns; `None`: it does not ask for that.
    watchdog: Option<Duration>,
    next_watchdog: Option<Time>,
    next_extension: Option<Time>,
    phase: Phase,
    /// It was told that the app is up, by this primary or one before.
    up: bool,
    /// The last [`Statement::Status`].
    line: String,
}

impl ServiceManager {
    /// A manager that this primary has told nothing. `watchdog`: within this time it must hear of
    /// the loop. `up`: a primary before told it that the app is up.
    pub(crate) fn new(now: Time, watchdog: Option<Duration>, up: bool) -> Self {
        Self {
            watchdog: watchdog.map(|within| within / 2),
            next_watchdog: watchdog.map(|_| now),
            next_extension: None,
            phase: Phase::Starting,
            up,
            line: String::new(),
        }
    }

    /// The manager was told that the app is up.
    pub(crate) fn is_up(&self) -> bool {
        self.up
    }

    /// When [`Event::Turn`] is due.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.next_watchdog.into_iter().chain(self.next_extension).min()
    }

    /// Takes one event in and says what is to be done.
    pub(crate) fn step(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        let mut statements = Vec::new();
        match event {
            Event::App(app) => self.app(now, app, &mut statements),
            Event::ReloadAsked => {
                if self.phase == Phase::Serving {
                    self.phase = Phase::Reloading;
                    statements.push(Statement::Reloading { at: now });
                }
            }
            Event::Turn => self.turn(now, &mut statements, out),
        }
        if !statements.is_empty() {
            out.push(Action::Tell(statements));
        }
    }

    fn app(&mut self, now: Time, app: App, statements: &mut Vec<Statement>) {
        let next = self.next_phase(&app);
        self.up |= next == Phase::Serving;
        if next != self.phase {
            match next {
                Phase::Starting => {}
                Phase::Serving => statements.push(Statement::Ready),
                Phase::Reloading => statements.push(Statement::Reloading { at: now }),
                Phase::Stopping => statements.push(Statement::Stopping),
            }
            self.phase = next;
        }
        self.next_extension = match next {
            Phase::Serving => None,
            Phase::Starting | Phase::Reloading | Phase::Stopping => {
                Some(self.next_extension.unwrap_or(now))
            }
        };
        if app.line != self.line {
            statements.push(Statement::Status(app.line.clone()));
            self.line = app.line;
        }
    }

    fn next_phase(&self, app: &App) -> Phase {
        match app.status {
            Status::Stopping => Phase::Stopping,
            Status::Ready => Phase::Serving,
            Status::Reloading if self.up => Phase::Reloading,
            // An app that was stopped by request, while its primary stays, still answers commands.
            Status::Degraded | Status::Errored | Status::Stopped if self.up => Phase::Serving,
            // Some workers serve and no more will for now: that is up, though not well.
            Status::Degraded if app.ready > 0 && !app.coming => Phase::Serving,
            Status::Starting
            | Status::Degraded
            | Status::Reloading
            | Status::Errored
            | Status::Stopped
            | Status::Unresponsive
            | Status::Lost
            | Status::Unknown => self.phase,
        }
    }

    fn turn(&mut self, now: Time, statements: &mut Vec<Statement>, out: &mut Vec<Action>) {
        if let Some(every) = self.watchdog
            && self.next_watchdog.is_some_and(|at| at <= now)
        {
            self.next_watchdog = Some(now + every);
            statements.push(Statement::Watchdog);
            // The keeper starts another primary before the manager starts everything anew.
            out.push(Action::Alive { within: every * 3 / 2 });
        }
        if self.next_extension.is_some_and(|at| at <= now) {
            self.next_extension = Some(now + EXTEND_EVERY);
            statements.push(Statement::ExtendTimeout(EXTEND_BY));
        }
    }
}

impl App {
    pub(crate) fn of(app: &AppStatus) -> Self {
        Self {
            status: app.status,
            ready: app.ready,
            coming: app.workers.iter().any(|worker| worker.state.is_coming()),
            line: line(app),
        }
    }
}

/// `2/2 workers ready, generation 3; last reload: …`
fn line(app: &AppStatus) -> String {
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

impl fmt::Display for Statement {
    /// As it is sent, without the end of the line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("READY=1"),
            Self::Reloading { at } => write!(f, "RELOADING=1\nMONOTONIC_USEC={}", at.0 / 1000),
            Self::Stopping => f.write_str("STOPPING=1"),
            Self::Status(line) => write!(f, "STATUS={line}"),
            Self::Watchdog => f.write_str("WATCHDOG=1"),
            Self::ExtendTimeout(span) => write!(f, "EXTEND_TIMEOUT_USEC={}", span.as_micros()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn app(status: Status, ready: u16, coming: bool) -> Event {
        Event::App(App { status, ready, coming, line: String::new() })
    }

    fn step(manager: &mut ServiceManager, now: Time, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        manager.step(now, event, &mut actions);
        actions
    }

    fn in_phase(phase: Phase) -> ServiceManager {
        let up = phase != Phase::Starting;
        ServiceManager { phase, ..ServiceManager::new(Time(0), None, up) }
    }

    #[test]
    fn an_app_is_up_when_it_serves_and_stays_up_whatever_happens_to_its_workers() {
        use Phase::{Reloading, Serving, Starting, Stopping};
        use Status::{Degraded, Errored, Lost, Ready, Stopped};
        let said = |now| match now {
            Starting => None,
            Serving => Some(Statement::Ready),
            Reloading => Some(Statement::Reloading { at: Time(5) }),
            Stopping => Some(Statement::Stopping),
        };
        for (before, status, ready, coming, after) in [
            (Starting, Status::Starting, 0, true, Starting),
            (Starting, Errored, 0, false, Starting),
            (Starting, Stopped, 0, false, Starting),
            (Starting, Degraded, 0, false, Starting),
            (Starting, Status::Reloading, 1, true, Starting),
            (Starting, Degraded, 1, true, Starting),
            (Starting, Degraded, 1, false, Serving),
            (Starting, Ready, 2, false, Serving),
            (Serving, Status::Starting, 0, true, Serving),
            (Serving, Degraded, 0, true, Serving),
            (Serving, Errored, 0, false, Serving),
            (Serving, Stopped, 0, false, Serving),
            (Serving, Lost, 0, false, Serving),
            (Serving, Status::Reloading, 2, false, Reloading),
            (Serving, Status::Stopping, 2, false, Stopping),
            (Reloading, Ready, 2, false, Serving),
            (Reloading, Degraded, 1, true, Serving),
            (Reloading, Errored, 0, false, Serving),
            (Reloading, Status::Stopping, 1, false, Stopping),
            (Stopping, Stopped, 0, false, Serving),
        ] {
            let mut manager = in_phase(before);
            let actions = step(&mut manager, Time(5), app(status, ready, coming));
            let case = format!("{before:?}, {status:?} {ready}");
            assert_eq!(manager.phase, after, "{case}");
            let changed = said(after).filter(|_| before != after);
            let expected: Vec<Action> =
                changed.map(|one| Action::Tell(vec![one])).into_iter().collect();
            assert_eq!(actions, expected, "{case}");
        }
    }

    #[test]
    fn an_app_that_never_served_is_not_up_after_a_reload_or_a_stop() {
        let mut manager = ServiceManager::new(Time(0), None, false);
        for status in [Status::Reloading, Status::Errored] {
            assert_eq!(step(&mut manager, Time(0), app(status, 0, false)), []);
        }
        let stopping = Action::Tell(vec![Statement::Stopping]);
        assert_eq!(step(&mut manager, Time(0), app(Status::Stopping, 0, false)), [stopping]);
        assert_eq!(step(&mut manager, Time(0), app(Status::Stopped, 0, false)), []);
        assert!(!manager.is_up());
        // What a primary before has told counts.
        let mut successor = ServiceManager::new(Time(0), None, true);
        let ready = Action::Tell(vec![Statement::Ready]);
        assert_eq!(step(&mut successor, Time(0), app(Status::Errored, 0, false)), [ready]);
    }

    #[test]
    fn a_reload_that_was_asked_for_is_answered_at_once() {
        let mut manager = in_phase(Phase::Serving);
        let reloading = Action::Tell(vec![Statement::Reloading { at: Time(7) }]);
        assert_eq!(step(&mut manager, Time(7), Event::ReloadAsked), [reloading]);
        assert_eq!(step(&mut manager, Time(8), Event::ReloadAsked), []);
        assert_eq!(step(&mut manager, Time(8), app(Status::Reloading, 2, false)), []);
        let ready = Action::Tell(vec![Statement::Ready]);
        assert_eq!(step(&mut manager, Time(9), app(Status::Ready, 2, false)), [ready]);
        for phase in [Phase::Starting, Phase::Stopping] {
            assert_eq!(step(&mut in_phase(phase), Time(7), Event::ReloadAsked), []);
        }
    }

    #[test]
    fn the_watchdog_hears_twice_in_its_time_and_the_keeper_is_quicker() {
        let mut manager = ServiceManager::new(Time(0), Some(SECOND * 4), false);
        let beat = [Action::Alive { within: SECOND * 3 }, Action::Tell(vec![Statement::Watchdog])];
        let mut now = Time(0);
        for _ in 0..3 {
            assert_eq!(manager.deadline(), Some(now));
            assert_eq!(step(&mut manager, now, Event::Turn), beat);
            assert_eq!(step(&mut manager, now + SECOND, Event::Turn), []);
            now = now + SECOND * 2;
        }
        assert_eq!(ServiceManager::new(Time(0), None, false).deadline(), None);
    }

    #[test]
    fn timeouts_are_put_off_while_something_is_under_way() {
        let mut manager = ServiceManager::new(Time(0), None, false);
        assert_eq!(step(&mut manager, Time(0), app(Status::Starting, 0, true)), []);
        let longer = Action::Tell(vec![Statement::ExtendTimeout(EXTEND_BY)]);
        for beat in 0..3 {
            let due = Time(0) + EXTEND_EVERY * beat;
            assert_eq!(manager.deadline(), Some(due));
            // A repeated state does not delay the next one.
            assert_eq!(step(&mut manager, due, app(Status::Starting, 0, true)), []);
            assert_eq!(step(&mut manager, due, Event::Turn), std::slice::from_ref(&longer));
        }
        step(&mut manager, Time(0) + SECOND * 11, app(Status::Ready, 1, false));
        assert_eq!(manager.deadline(), None);
    }

    #[test]
    fn the_status_is_one_line_and_is_said_when_it_changes() {
        let one = serde_json::json!({
            "name": "web", "status": "degraded", "ready": 1, "wanted": 2, "generation": 3,
            "reason": "slot 1: exit code 1\nsecond line", "last_reload": "done", "primary_pid": 1,
            "version": "", "balance": "hash", "engine": "kernel", "command": [], "cwd": "/",
            "listeners": [], "wanted_because": "", "restarts": 0, "uptime_ms": 0, "workers": []
        });
        let one: AppStatus = serde_json::from_value(one).unwrap();
        let mut manager = in_phase(Phase::Serving);
        let status = Statement::Status(
            "1/2 workers ready, generation 3; slot 1: exit code 1 second line; last reload: done"
                .to_owned(),
        );
        let actions = step(&mut manager, Time(0), Event::App(App::of(&one)));
        assert_eq!(actions, [Action::Tell(vec![status])]);
        assert_eq!(step(&mut manager, Time(1), Event::App(App::of(&one))), []);
    }

    #[test]
    fn statements_are_those_of_sd_notify() {
        for (statement, text) in [
            (Statement::Ready, "READY=1"),
            (Statement::Reloading { at: Time(5_000) }, "RELOADING=1\nMONOTONIC_USEC=5"),
            (Statement::Stopping, "STOPPING=1"),
            (Statement::Status("up".to_owned()), "STATUS=up"),
            (Statement::Watchdog, "WATCHDOG=1"),
            (Statement::ExtendTimeout(SECOND), "EXTEND_TIMEOUT_USEC=1000000"),
        ] {
            assert_eq!(statement.to_string(), text);
        }
    }
}
