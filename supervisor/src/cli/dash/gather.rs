//! The threads that feed the model, and the word to the pages that something changed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;

use super::log_followers::{LogFollower, LogFollowers};
use super::model::{Heard, Model};
use crate::cli::exit::Failure;
use crate::cli::exporter::scrape;
use crate::cli::logs::events;
use crate::cli::output;
use crate::cli::side_by_side::{Work, side_by_side};
use crate::cli::watch::{Action, Outcome, Report, commands, feeds};
use crate::home::Home;
use crate::sys::clock;

/// How often the event loops of Node workers are asked for.
const DELAY_INTERVAL: Duration = Duration::from_secs(10);
/// The metric that has their delay.
const DELAY: &str = "supervisor_node_event_loop_delay_seconds";
/// Its part that the charts show.
const QUANTILE: (&str, &str) = ("quantile", "0.99");
/// Kept events of each app that the pages get.
const KEPT_EVENTS: usize = 50;

/// What was gathered, for all pages.
#[derive(Debug)]
pub(super) struct Gathered {
    home: Home,
    model: Mutex<Model>,
    changed: watch::Sender<()>,
    logs: LogFollowers,
}

impl Gathered {
    /// Without the threads.
    pub(super) fn new(home: &Home) -> Self {
        Self {
            home: home.clone(),
            model: Mutex::new(Model::new()),
            changed: watch::Sender::new(()),
            logs: LogFollowers::default(),
        }
    }

    /// Starts the threads. `names`: only these apps; `None` for all.
    pub(super) fn start(home: &Home, names: Option<Vec<String>>) -> Result<Arc<Self>, Failure> {
        let gathered = Arc::new(Self::new(home));
        let feed = Arc::clone(&gathered);
        feeds::start(home.clone(), names.unwrap_or_default(), move |report| {
            feed.take(report);
            Ok(())
        })?;
        let loops = Arc::clone(&gathered);
        let measure = move || {
            loop {
                loops.measure_loops();
                output::pause(DELAY_INTERVAL);
            }
        };
        let started = thread::Builder::new().name("delays".into()).spawn(measure);
        started.map_err(|error| Failure::io("cannot start a thread to measure", &error))?;
        Ok(gathered)
    }

    /// Says when something changed.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// What a page has not heard; see [`Model::since`].
    pub(super) fn since(&self, heard: &mut Heard) -> String {
        self.model().since(heard)
    }

    /// The last hour of the app as JSON. `None`: there is no such app.
    pub(super) fn hour(&self, app: &str) -> Option<String> {
        self.model().hour(app, clock::unix_ms())
    }

    /// Whether this app is shown.
    pub(super) fn has(&self, app: &str) -> bool {
        self.model().has(app)
    }

    /// The log of the app, which all pages that read it share.
    pub(super) fn log(&self, app: &str) -> Result<Arc<LogFollower>, Failure> {
        self.logs.follow(&self.home, app)
    }

    /// Runs the command of a page; its outcome goes to all pages. `ended` is dropped at its end.
    pub(super) fn run(
        self: &Arc<Self>,
        id: u64,
        action: Action,
        ended: impl Clone + Send + 'static,
    ) {
        let gathered = Arc::clone(self);
        commands::start(&self.home, action, move |outcome: Outcome| {
            let _ended = &ended;
            gathered.model().outcome(id, &outcome, clock::unix_ms());
            gathered.changed.send_replace(());
        });
    }

    /// Takes a report of a thread.
    pub(super) fn take(&self, report: Report) {
        if let Report::Status { app, .. } = &report
            && !self.has(app)
        {
            // Those of a new app come after it, since marks belong to an app.
            let kept = events::kept(&self.home, app).unwrap_or_default();
            let app = app.clone();
            let mut model = self.model();
            model.take(report, clock::unix_ms());
            model.recall(&app, &kept[kept.len().saturating_sub(KEPT_EVENTS)..]);
            drop(model);
            self.changed.send_replace(());
            return;
        }
        if self.model().take(report, clock::unix_ms()) {
            self.changed.send_replace(());
        }
    }

    fn measure_loops(&self) {
        let apps = self.model().apps_of_node();
        side_by_side(
            Work::Waits,
            &apps,
            |app| scrape::fetch(&self.home, app),
            |app, found| {
                // An app that does not answer shows that in its state.
                let Ok(found) = found else { return };
                let of_loops = found.metrics.iter().filter(|metric| {
                    let labels = metric.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
                    metric.name == DELAY && labels.into_iter().any(|label| label == QUANTILE)
                });
                if let Some(worst) = of_loops.map(|metric| metric.value).reduce(f64::max) {
                    self.model().delay(app, worst * 1000.0, clock::unix_ms());
                }
            },
        );
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
