//! The state of the dashboard.

use std::collections::{BTreeMap, VecDeque};

use super::columns::{Placed, of_apps, of_workers};
use super::event::Effect;
use super::layout::{Areas, Needs, Pane};
use super::log::Lines;
use super::sort::Sort;
use crate::cli::output::tone::Tone;
use crate::cli::watch::{Action, App};

/// What the keys are for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Moving around, and commands.
    #[default]
    Normal,
    /// Writing the filter of the focused pane.
    Filter,
    /// Writing the name of a signal.
    Signal { text: String, wrong: Option<String> },
    /// Yes or no.
    Confirm(Action),
    /// The list of keys, from this line on.
    Help { from: u16 },
    /// Why a command failed.
    Failure { command: String, reason: String, last_lines: Vec<String> },
}

/// A line about the last command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) tone: Tone,
    pub(crate) text: String,
}

/// A table: what is selected, filtered and how it is sorted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table<K> {
    pub(crate) selected: Option<K>,
    pub(crate) filter: String,
    pub(crate) sort: Sort,
}

/// A worker in a list: its slot, and its pid if it has one.
pub(crate) type WorkerKey = (u16, Option<u32>);

/// All that the dashboard knows.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) size: (u16, u16),
    pub(crate) apps: BTreeMap<String, App>,
    /// Whether the names of all apps have come.
    pub(crate) listed: bool,
    pub(crate) app_table: Table<String>,
    pub(crate) worker_table: Table<WorkerKey>,
    /// Only apps in trouble are shown.
    pub(crate) only_trouble: bool,
    /// Whether the user pressed a key or clicked. Until then the first app is the selected one.
    pub(crate) chosen: bool,
    pub(crate) focus: Pane,
    /// The focused pane has the whole screen.
    pub(crate) zoomed: bool,
    pub(crate) mode: Mode,
    pub(crate) log: Lines,
    /// The events of all apps.
    pub(crate) events: Lines,
    /// The third pane shows the events instead of the log.
    pub(crate) shows_events: bool,
    pub(crate) wraps: bool,
    pub(crate) message: Option<Message>,
    /// Commands that have not ended, oldest first.
    pub(crate) running: VecDeque<Action>,
}

impl Model {
    /// A model that knows nothing yet.
    pub(crate) fn new(size: (u16, u16)) -> Self {
        Self {
            size,
            apps: BTreeMap::new(),
            listed: false,
            app_table: Table::default(),
            worker_table: Table::default(),
            only_trouble: false,
            chosen: false,
            focus: Pane::Apps,
            zoomed: false,
            mode: Mode::Normal,
            log: Lines::default(),
            events: Lines::default(),
            shows_events: false,
            wraps: true,
            message: None,
            running: VecDeque::new(),
        }
    }

    /// The apps in sight, in their order.
    pub(crate) fn shown_apps(&self) -> Vec<&App> {
        let filter = &self.app_table.filter;
        let mut apps: Vec<&App> = self
            .apps
            .values()
            .filter(|app| filter.is_empty() || app.status.name.to_lowercase().contains(filter))
            .filter(|app| !self.only_trouble || app.tone() <= Tone::Warning)
            .collect();
        apps.sort_by(|a, b| self.app_table.sort.apps(a, b));
        apps
    }

    /// The selected app.
    pub(crate) fn app(&self) -> Option<&App> {
        self.app_table.selected.as_ref().and_then(|name| self.apps.get(name))
    }

    /// The workers in sight of the selected app, in their order, as indices into its status.
    pub(crate) fn shown_workers(&self) -> Vec<usize> {
        let Some(app) = self.app() else { return Vec::new() };
        let workers = &app.status.workers;
        let filter = &self.worker_table.filter;
        let mut shown: Vec<usize> = (0..workers.len())
            .filter(|at| filter.is_empty() || has(&workers[*at], filter))
            .collect();
        let rate = |at: usize| app.worker_rates.get(at).copied().flatten();
        let sort = self.worker_table.sort;
        shown.sort_by(|a, b| sort.workers((&workers[*a], rate(*a)), (&workers[*b], rate(*b))));
        shown
    }

    /// The place of the selected app among the shown ones.
    pub(crate) fn app_row(&self, shown: &[&App]) -> Option<usize> {
        let selected = self.app_table.selected.as_ref()?;
        shown.iter().position(|app| app.status.name == *selected)
    }

    /// The place of the selected worker among the shown ones. A slot keeps the selection when its
    /// worker is replaced.
    pub(crate) fn worker_row(&self, shown: &[usize]) -> Option<usize> {
        let workers = &self.app()?.status.workers;
        let (slot, pid) = self.worker_table.selected?;
        let is = |at: &usize| (workers[*at].slot, workers[*at].pid) == (slot, pid);
        shown.iter().position(is).or_else(|| shown.iter().position(|at| workers[*at].slot == slot))
    }

    /// Selects the app at a place among the shown ones, or the last one. What to do then: read its
    /// log.
    pub(crate) fn select_app(&mut self, row: usize) -> Option<Effect> {
        let shown = self.shown_apps();
        let at = row.min(shown.len().saturating_sub(1));
        let name = shown.get(at).map(|app| app.status.name.clone());
        if name == self.app_table.selected {
            return None;
        }
        self.worker_table.selected = None;
        self.log.clear();
        self.app_table.selected.clone_from(&name);
        Some(Effect::Follow(name))
    }

    /// Selects the worker at a place among the shown ones, or the last one.
    pub(crate) fn select_worker(&mut self, row: usize) {
        let shown = self.shown_workers();
        let at = shown.get(row.min(shown.len().saturating_sub(1)));
        let worker = at.zip(self.app()).and_then(|(at, app)| app.status.workers.get(*at));
        self.worker_table.selected = worker.map(|worker| (worker.slot, worker.pid));
    }

    /// The lines that the third pane shows.
    pub(crate) fn lines(&self) -> &Lines {
        if self.shows_events { &self.events } else { &self.log }
    }

    pub(crate) fn lines_mut(&mut self) -> &mut Lines {
        if self.shows_events { &mut self.events } else { &mut self.log }
    }

    /// The filter of the focused pane.
    pub(crate) fn filter(&self) -> &str {
        match self.focus {
            Pane::Apps => &self.app_table.filter,
            Pane::Workers => &self.worker_table.filter,
            Pane::Log => self.lines().filter(),
        }
    }

    /// Sets the filter of the focused pane.
    pub(crate) fn set_filter(&mut self, filter: &str) {
        match self.focus {
            Pane::Apps => self.app_table.filter = filter.to_lowercase(),
            Pane::Workers => self.worker_table.filter = filter.to_lowercase(),
            Pane::Log => self.lines_mut().set_filter(filter),
        }
    }

    /// Where everything stands; `None` on a screen that is too small.
    pub(crate) fn areas(&self) -> Option<Areas> {
        let workers = self.app().map_or(0, |app| app.status.workers.len());
        let zoomed = self.zoomed.then_some(self.focus);
        Areas::new(self.size, Needs { apps: self.shown_apps().len(), workers, zoomed })
    }

    /// The columns of the table of apps.
    pub(crate) fn app_columns(&self, width: u16) -> Vec<Placed> {
        let longest = self.apps.keys().map(|name| name.chars().count()).max().unwrap_or(0);
        of_apps(width, u16::try_from(longest).unwrap_or(u16::MAX - 10))
    }

    /// The columns of the table of workers.
    pub(crate) fn worker_columns(&self, width: u16) -> Vec<Placed> {
        of_workers(width, self.app().is_some_and(|app| app.status.pools.len() > 1))
    }
}

/// Whether a worker has the text in its slot, pid, state, pool or reason.
fn has(worker: &ipc::control::WorkerStatus, filter: &str) -> bool {
    let pid = worker.pid.map(|pid| pid.to_string());
    let texts = [worker.pool.as_ref(), worker.reason.as_ref(), worker.last_exit.as_ref()];
    worker.slot.to_string() == *filter
        || worker.state.word().contains(filter)
        || pid.is_some_and(|pid| pid.contains(filter))
        || texts.into_iter().flatten().any(|text| text.to_lowercase().contains(filter))
}
