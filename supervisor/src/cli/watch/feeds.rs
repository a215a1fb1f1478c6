//! Threads that ask primaries: one lists the apps, and one for each app follows it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use super::report::{Ended, Report};
use crate::base::time::millis;
use crate::cli::args::when;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output;
use crate::cli::targets::probe;
use crate::home::Home;

/// How often the folders are read for new apps, and each app is asked for its status.
const INTERVAL: Duration = Duration::from_secs(1);

/// The shortest time between two looks at an app in which something happens, so that a rollout is
/// seen slot by slot.
const BUSY_INTERVAL: Duration = Duration::from_millis(200);

/// Starts the thread that finds the apps. `names`: only these; empty for all. `report` may wait,
/// and so delays the next look at that app alone.
pub(crate) fn start(
    home: Home,
    names: Vec<String>,
    report: impl Fn(Report) -> Result<(), Ended> + Clone + Send + 'static,
) -> Result<(), Failure> {
    let find = move || {
        let began = Instant::now();
        let mut followed: BTreeMap<String, JoinHandle<()>> = BTreeMap::new();
        loop {
            let apps = match home.apps() {
                Ok(apps) => apps,
                Err(error) => {
                    if report(Report::Fault(error.to_string())).is_err() {
                        return;
                    }
                    output::pause(INTERVAL);
                    continue;
                }
            };
            let is_meant = |name: &String| {
                (names.is_empty() || names.contains(name)) && config::name::check(name).is_ok()
            };
            let apps: Vec<String> = apps.into_iter().filter(is_meant).collect();
            followed.retain(|_, thread| !thread.is_finished());
            for name in &apps {
                if !followed.contains_key(name) {
                    let app = App { home: home.clone(), name: name.clone(), began };
                    match app.follow_in_thread(report.clone()) {
                        Ok(thread) => _ = followed.insert(name.clone(), thread),
                        Err(why) => {
                            if report(Report::Fault(why.reason)).is_err() {
                                return;
                            }
                        }
                    }
                }
            }
            if report(Report::Apps(apps)).is_err() {
                return;
            }
            output::pause(INTERVAL);
        }
    };
    let started = thread::Builder::new().name("apps".into()).spawn(find);
    started.map(drop).map_err(|error| Failure::io("cannot start a thread to find apps", &error))
}

/// One followed app.
struct App {
    home: Home,
    name: String,
    /// From when the times of statuses count.
    began: Instant,
}

/// Whether an app is followed on.
enum Next {
    /// It exists, or may exist again.
    Look,
    /// It does not exist, or this user may not see it.
    Leave,
}

impl App {
    fn follow_in_thread(
        self,
        report: impl Fn(Report) -> Result<(), Ended> + Send + 'static,
    ) -> Result<JoinHandle<()>, Failure> {
        let why = format!("cannot start a thread to follow {}", self.name);
        let follow = move || while let Ok(Next::Look) = self.follow(&report) {};
        thread::Builder::new().spawn(follow).map_err(|error| Failure::io(why, &error))
    }

    /// Looks at the app at intervals and whenever something happens, until its primary ends.
    fn follow(&self, report: &impl Fn(Report) -> Result<(), Ended>) -> Result<Next, Ended> {
        let looked = Instant::now();
        if let Next::Leave = self.look(report)? {
            return Ok(Next::Leave);
        }
        let Ok(mut client) = probe::connect(&self.home, &self.name) else {
            output::pause(INTERVAL);
            return Ok(Next::Look);
        };
        let looks = RefCell::new((looked, Ok(Next::Look)));
        let look = |least: Duration| {
            let (at, next) = &mut *looks.borrow_mut();
            if at.elapsed() >= least {
                *next = self.look(report);
                *at = Instant::now();
            }
            match next {
                Ok(Next::Look) => ControlFlow::Continue(()),
                Ok(Next::Leave) | Err(Ended) => ControlFlow::Break(()),
            }
        };
        // A notice that comes too soon after a look is followed by one in a quiet moment.
        let hurried = Cell::new(false);
        let ended = client.subscribe(
            BUSY_INTERVAL,
            || look(if hurried.replace(false) { BUSY_INTERVAL } else { INTERVAL }),
            |notice| {
                hurried.set(true);
                let time = when::formatted(notice.unix_ms, &TimeZone::system(), "%H:%M:%S");
                let app = self.name.clone();
                match report(Report::Notice { app, time, notice: notice.clone() }) {
                    Ok(()) => look(BUSY_INTERVAL),
                    Err(Ended) => ControlFlow::Break(()),
                }
            },
        );
        if !matches!(ended, Ok(None)) {
            // It refuses to be followed, or does not speak as it should: ask it at intervals.
            output::pause(INTERVAL);
        }
        looks.into_inner().1
    }

    /// Asks for the status, and reports it.
    fn look(&self, report: &impl Fn(Report) -> Result<(), Ended>) -> Result<Next, Ended> {
        let found = match probe::status(&self.home, &self.name) {
            Ok(None) => return Ok(Next::Leave),
            Ok(Some(status)) => Ok(Box::new(status)),
            // An app of another user that this user may not see.
            Err(failure)
                if failure.exit == Exit::NotPermitted && self.home.is_of_another_user() =>
            {
                output::pause(INTERVAL);
                return Ok(Next::Leave);
            }
            Err(failure) => Err(failure.reason),
        };
        let at_ms = millis(self.began.elapsed());
        report(Report::Status { app: self.name.clone(), found, at_ms })?;
        Ok(Next::Look)
    }
}
