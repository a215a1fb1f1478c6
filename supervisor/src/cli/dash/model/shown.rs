//! An app as the page gets it. Only what is listed here leaves this process: no environment, no
//! command line, no path but that of the configuration file.

use ipc::control::{Status, WorkerStatus};
use serde::Serialize;

use super::history::rounded;
use crate::cli::output::tone::Tone;
use crate::cli::watch::{App, Progress, SlotProgress, worker_tone};

/// An app. Texts are harmless: [`App`] has cleaned them.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Shown<'a> {
    name: &'a str,
    state: &'static str,
    tone: &'static str,
    reason: Option<&'a str>,
    ready: u16,
    wanted: u16,
    generation: u32,
    restarts: u64,
    recycles: u64,
    primary_deaths: u32,
    primary_pid: u32,
    version: &'a str,
    engine: &'a str,
    source: Option<&'a str>,
    last_reload: Option<&'a str>,
    notes: &'a [String],
    addresses: Vec<&'a str>,
    /// When its primary started, in seconds since 1970.
    started: u64,
    cpu: Option<f64>,
    memory: Option<f64>,
    connections: Option<f64>,
    accepted: Option<f64>,
    backlog: f64,
    /// CPU of the last minutes.
    spark: Vec<Option<f64>>,
    /// How far each slot is in a reload that runs.
    rollout: Option<Vec<&'static str>>,
    pools: Vec<&'a str>,
    workers: Vec<Worker<'a>>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Worker<'a> {
    slot: u16,
    pool: Option<&'a str>,
    pid: Option<u32>,
    state: &'static str,
    tone: &'static str,
    reason: Option<&'a str>,
    status: Option<&'a str>,
    last_exit: Option<&'a str>,
    generation: u32,
    restarts: u64,
    recycles: u64,
    started: Option<u64>,
    cpu: Option<f64>,
    memory: Option<u64>,
    connections: Option<u32>,
    accepted: Option<f64>,
    backlog: Option<u32>,
}

impl<'a> Shown<'a> {
    /// The app at this time.
    pub(super) fn new(app: &'a App, spark: Vec<Option<f64>>, unix_ms: u64) -> Self {
        let status = &app.status;
        let rates = app.worker_rates.iter().copied().chain(std::iter::repeat(None));
        let progress = || Progress::of(status).slots.into_iter().map(slot_word).collect();
        Self {
            name: &status.name,
            state: app.word(),
            tone: tone(app.tone()),
            reason: app.reason(),
            ready: status.ready,
            wanted: status.wanted,
            generation: status.generation,
            restarts: status.restarts,
            recycles: status.recycles,
            primary_deaths: status.primary_deaths,
            primary_pid: status.primary_pid,
            version: &status.version,
            engine: &status.engine,
            source: status.source.as_deref(),
            last_reload: status.last_reload.as_deref(),
            notes: &status.notes,
            addresses: status.listeners.iter().map(|l| l.address.as_str()).collect(),
            started: started(status.uptime_ms, unix_ms),
            cpu: app.cpu.latest().map(rounded),
            memory: app.memory.latest(),
            connections: app.connections(),
            accepted: app.accepted.latest().map(rounded),
            backlog: app.backlog(),
            spark,
            rollout: (status.status == Status::Reloading).then(progress),
            pools: status.pools.iter().map(|pool| pool.name.as_str()).collect(),
            workers: status.workers.iter().zip(rates).map(|(w, r)| worker(w, r, unix_ms)).collect(),
        }
    }
}

fn worker(worker: &WorkerStatus, rate: Option<f64>, unix_ms: u64) -> Worker<'_> {
    Worker {
        slot: worker.slot,
        pool: worker.pool.as_deref(),
        pid: worker.pid,
        state: worker.state.word(),
        tone: tone(worker_tone(worker)),
        reason: worker.reason.as_deref(),
        status: worker.status_text.as_deref(),
        last_exit: worker.last_exit.as_deref(),
        generation: worker.generation,
        restarts: worker.restarts,
        recycles: worker.recycles,
        started: worker.uptime_ms.map(|ms| started(ms, unix_ms)),
        cpu: worker.cpu_percent.map(|percent| rounded(f64::from(percent))),
        memory: worker.rss_bytes,
        connections: worker.connections,
        accepted: rate.map(rounded),
        backlog: worker.backlog,
    }
}

/// The moment stays the same while a time of life grows, so that nothing is sent for it.
fn started(uptime_ms: u64, unix_ms: u64) -> u64 {
    unix_ms.saturating_sub(uptime_ms) / 1000
}

fn tone(tone: Tone) -> &'static str {
    match tone {
        Tone::Bad => "bad",
        Tone::Warning => "warning",
        Tone::Busy => "busy",
        Tone::Good => "good",
        Tone::Idle => "idle",
    }
}

fn slot_word(slot: SlotProgress) -> &'static str {
    match slot {
        SlotProgress::Old => "old",
        SlotProgress::Between => "between",
        SlotProgress::New => "new",
    }
}
