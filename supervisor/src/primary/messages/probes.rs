//! The sentences about workers that are probed.

use crate::primary::text::count;
use crate::primary::worker::Worker;
use crate::primary::worker::health::{Health, Verdict};

/// Why a worker gets new connections again.
pub(in crate::primary) fn returned(worker: &Worker) -> String {
    let why = match worker.readiness.fails() {
        true => "no other worker serves, although readiness still fails",
        false => "readiness no longer fails",
    };
    format!("gets new connections again: {why}")
}

/// Why a worker gets no new connections.
pub(in crate::primary) fn withdrawn(worker: &Worker) -> String {
    let failed = failed("readiness", &worker.readiness);
    format!("gets no new connections until readiness passes: {failed}")
}

/// A probe fails.
pub(in crate::primary) fn failed(probe: &str, health: &Health) -> String {
    let times = count(u32::from(health.failures), "time");
    let why = health.why.as_deref().unwrap_or("it gave no reason");
    format!("{probe} failed {times} in a row: {why}")
}

/// Why readiness holds a worker back that starts.
pub(in crate::primary) fn held_back(worker: &Worker) -> Option<String> {
    let health = &worker.readiness;
    health.holds_back(&worker.plan.spec.readiness).then(|| match &health.why {
        Some(why) => format!("readiness has not passed: {why}"),
        None => "readiness has not passed".to_owned(),
    })
}

/// What a person should know of the probes of a ready worker.
pub(in crate::primary) fn of_ready(worker: &Worker) -> Option<String> {
    if worker.withdrawn {
        return Some(withdrawn(worker));
    }
    if worker.readiness.fails() {
        let failed = failed("readiness", &worker.readiness);
        return Some(format!("gets connections, because no other worker does: {failed}"));
    }
    let unknown = |(probe, health): (&str, &Health)| {
        let why = health.why.as_deref().filter(|_| health.verdict == Verdict::Unknown)?;
        Some(format!("{probe} is unknown: {why}"))
    };
    [("readiness", &worker.readiness), ("liveness", &worker.liveness)].into_iter().find_map(unknown)
}
