//! One app as the dashboard knows it: its last status, and what was measured before.

use config::spec::AppSpec;
use ipc::control::{AppStatus, Status, WorkerState, WorkerStatus};

use super::series::{Rates, Series};
use super::text::clean;
use crate::cli::output::table::total;
use crate::cli::output::tone::Tone;
use crate::cli::targets::recorded;
use crate::home::Record;

/// The shortest time between two samples.
const MIN_INTERVAL_MS: u64 = 800;

/// An app.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) status: AppStatus,
    /// Why the last look at it failed. Then `status` is older.
    pub(crate) failure: Option<String>,
    pub(crate) cpu: Series,
    pub(crate) memory: Series,
    pub(crate) accepted: Series,
    /// Connections accepted per second by each worker of `status`.
    pub(crate) worker_rates: Vec<Option<f64>>,
    rates: Rates,
    /// When the last sample was taken.
    sampled_at_ms: Option<u64>,
    /// Primaries that died, as far as is known.
    deaths: u32,
}

impl App {
    /// An app of which nothing is known but its name, and why.
    pub(crate) fn unknown(name: &str, failure: &str) -> Self {
        let record = Record::new(0, Vec::new(), AppSpec::new(name, Vec::new(), "/".into()));
        let mut status = recorded::status(name, &record, Status::Lost, failure);
        (status.uptime_ms, status.wanted) = (0, 0);
        let mut app = Self::new(status, 0);
        app.failure = Some(clean(failure));
        app
    }

    /// An app with its first status, at `at_ms` of any clock that does not go back.
    pub(crate) fn new(status: AppStatus, at_ms: u64) -> Self {
        let mut app = Self {
            status: cleaned(status),
            failure: None,
            cpu: Series::default(),
            memory: Series::default(),
            accepted: Series::default(),
            worker_rates: Vec::new(),
            rates: Rates::default(),
            sampled_at_ms: None,
            deaths: 0,
        };
        app.deaths = app.status.primary_deaths;
        app.measure(at_ms);
        app
    }

    /// Takes over a status. Returns whether another primary has died since the last one.
    pub(crate) fn update(&mut self, status: AppStatus, at_ms: u64) -> bool {
        self.status = cleaned(status);
        self.failure = None;
        self.measure(at_ms);
        let died = self.status.primary_deaths > self.deaths;
        self.deaths = self.deaths.max(self.status.primary_deaths);
        died
    }

    /// Takes a sample, if the last one is old enough: statuses also come between two looks.
    fn measure(&mut self, at_ms: u64) {
        let is_early = self.sampled_at_ms.is_some_and(|at| at_ms < at + MIN_INTERVAL_MS);
        if is_early && self.worker_rates.len() == self.status.workers.len() {
            return;
        }
        self.sampled_at_ms = Some(at_ms);
        self.worker_rates = self.rates.update(&self.status.workers, at_ms);
        let workers = &self.status.workers;
        self.cpu.push(total(workers.iter().map(|worker| worker.cpu_percent.map(f64::from))));
        self.memory.push(total(workers.iter().map(|worker| worker.rss_bytes.map(|b| b as f64))));
        self.accepted.push(total(self.worker_rates.iter().copied()));
    }

    pub(crate) fn tone(&self) -> Tone {
        match self.status.status {
            _ if self.failure.is_some() => Tone::Bad,
            // Its workers have failed before, and are tried again.
            Status::Starting if self.status.restarts > 0 => Tone::Warning,
            status => Tone::of(status),
        }
    }

    /// A rank: apps in trouble first, all others alike.
    pub(crate) fn trouble(&self) -> Tone {
        self.tone().min(Tone::Busy)
    }

    /// The word for its state.
    pub(crate) fn word(&self) -> &'static str {
        match (&self.failure, self.status.done) {
            (Some(_), _) => "unknown",
            (None, true) => "done",
            (None, false) => self.status.status.word(),
        }
    }

    /// Why it is in its state, where there is something to say.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.failure.as_deref().or(self.status.reason.as_deref())
    }

    /// Whether none of its workers runs.
    pub(crate) fn is_down(&self) -> bool {
        self.status.workers.iter().all(|worker| worker.pid.is_none())
    }

    /// Connections of all workers.
    pub(crate) fn connections(&self) -> Option<f64> {
        total(self.status.workers.iter().map(|worker| worker.connections.map(f64::from)))
    }

    /// Connections that wait in the queues of all listeners.
    pub(crate) fn backlog(&self) -> f64 {
        self.status.listeners.iter().fold(0.0, |sum, listener| sum + f64::from(listener.backlog))
    }

    /// Its addresses in one line.
    pub(crate) fn addresses(&self) -> String {
        let all: Vec<&str> = self.status.listeners.iter().map(|l| l.address.as_str()).collect();
        match all.as_slice() {
            [] => "-".to_owned(),
            [one] => (*one).to_owned(),
            [first, rest @ ..] => format!("{first} +{}", rest.len()),
        }
    }
}

/// How the state of a worker is to be taken.
pub(crate) fn worker_tone(worker: &WorkerStatus) -> Tone {
    match worker.state {
        WorkerState::Ready => Tone::Good,
        WorkerState::Spawning
        | WorkerState::Starting
        | WorkerState::Draining
        | WorkerState::Killing => Tone::Busy,
        WorkerState::Waiting => Tone::Warning,
        WorkerState::Errored | WorkerState::Unknown => Tone::Bad,
        WorkerState::Stopped => Tone::Idle,
    }
}

/// The status with harmless texts.
fn cleaned(mut status: AppStatus) -> AppStatus {
    let texts = [&mut status.name, &mut status.version, &mut status.engine, &mut status.cwd];
    texts.into_iter().for_each(|text| *text = clean(text));
    for text in [&mut status.reason, &mut status.last_reload, &mut status.source] {
        *text = text.as_deref().map(clean);
    }
    status.notes.iter_mut().for_each(|note| *note = clean(note));
    status.command.iter_mut().for_each(|word| *word = clean(word));
    status.listeners.iter_mut().for_each(|listener| listener.address = clean(&listener.address));
    status.pools.iter_mut().for_each(|pool| pool.name = clean(&pool.name));
    for worker in &mut status.workers {
        for text in
            [&mut worker.reason, &mut worker.status_text, &mut worker.last_exit, &mut worker.pool]
        {
            *text = text.as_deref().map(clean);
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::targets::fake_primary as fake;

    #[test]
    fn texts_of_strangers_are_harmless() {
        let mut status = fake::status("web", Status::Errored);
        status.reason = Some("\u{1b}[2Jgone".into());
        status.workers[0].last_exit = Some("exit\u{7} 1".into());
        status.workers[0].status_text = Some("\u{202e}abc".into());
        let app = App::new(status, 0);
        assert_eq!(app.reason(), Some("gone"));
        assert_eq!(app.status.workers[0].last_exit.as_deref(), Some("exit 1"));
        assert_eq!(app.status.workers[0].status_text.as_deref(), Some("abc"));
        assert_eq!(App::unknown("a\u{1b}[1mb", "x").status.name, "ab");
    }

    #[test]
    fn a_failed_look_is_bad_news_until_the_next_status() {
        let mut app = App::new(fake::status("web", Status::Ready), 0);
        assert_eq!((app.tone(), app.word()), (Tone::Good, "ready"));
        app.failure = Some("no answer".into());
        assert_eq!(
            (app.tone(), app.word(), app.reason()),
            (Tone::Bad, "unknown", Some("no answer"))
        );
        app.update(fake::status("web", Status::Ready), 1000);
        assert_eq!(app.tone(), Tone::Good);
    }

    #[test]
    fn sums_are_of_what_is_known() {
        assert_eq!(total([None, None].into_iter()), None);
        assert_eq!(total([Some(1.0), None, Some(2.0)].into_iter()), Some(3.0));
    }
}
