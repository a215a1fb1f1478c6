//! Scenarios of workers that are probed.

use config::change::SpecChange;
use config::spec::{ProbeAsk, ProbeSpec};
use ipc::control::Method;

use super::*;
use crate::primary::event::{ProbeKind, ProbeResult};

fn probe() -> ProbeSpec {
    ProbeSpec { ask: Some(ProbeAsk::Tcp { port: None }), failures: 2, ..ProbeSpec::default() }
}

fn ready_by(command: &str, wanted: u16) -> AppSpec {
    AppSpec { readiness: probe(), ..app(command, wanted) }
}

fn alive_by(command: &str, wanted: u16) -> AppSpec {
    AppSpec { liveness: probe(), ..app(command, wanted) }
}

fn why(text: &str) -> ProbeResult {
    ProbeResult::Failed(text.to_owned())
}

impl Sim {
    fn probed(&mut self, worker: WorkerId, probe: ProbeKind, result: ProbeResult) {
        assert!(self.primary.probes_of(worker).any(|asked| asked == probe), "it is not asked");
        self.answer_probe(worker, probe, result);
    }

    fn fails(&mut self, worker: WorkerId, probe: ProbeKind) {
        for _ in 0..2 {
            self.probed(worker, probe, why("HTTP status 500"));
        }
    }

    /// Readiness passes for every worker that starts, until `what` is so.
    fn passing(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        while !is_so(self) {
            for worker in self.ids() {
                if self.primary.probes_of(worker).any(|asked| asked == ProbeKind::Readiness) {
                    self.probed(worker, ProbeKind::Readiness, ProbeResult::Passed);
                }
            }
            assert!(self.tick(), "nothing happens any more, and not: {what}");
        }
    }

    fn served(spec: AppSpec) -> Self {
        let mut sim = Self::begun(spec, 7);
        sim.passing("all are ready", |sim| sim.app_status() == Status::Ready);
        sim
    }
}

#[test]
fn a_rollback_to_workers_whose_probes_fail_is_refused_unless_the_others_fail_too() {
    let mut sim = Sim::served(ready_by(GOOD, 1));
    let old = sim.ids()[0];
    let method = Method::BlueGreen { keep_old_ms: 600_000 };
    let client = sim.ask(Request::Configure { change: SpecChange::default(), method });
    sim.passing("it is answered", |sim| sim.clients[&client].answer.is_some());
    let new = sim.ids()[1];
    let rollback = |sim: &mut Sim| {
        let client = sim.ask(Request::Rollback);
        sim.answer(client)
    };
    sim.fails(old, ProbeKind::Readiness);
    let (_, reason, _) = failed(rollback(&mut sim));
    let expected = "cannot roll web back now: the probes of its worker in slot 0 fail; \
                    generation 1 stays, so try again when they pass";
    assert_eq!((reason.as_str(), sim.ids()), (expected, vec![old, new]));
    sim.fails(new, ProbeKind::Readiness);
    done(rollback(&mut sim));
    sim.until("the new one leaves", |sim| sim.ids() == [old]);
}

#[test]
fn a_worker_is_not_ready_before_its_readiness_passes() {
    let mut sim = Sim::begun(ready_by(GOOD, 1), 7);
    sim.pass(Duration::from_secs(5));
    let worker = sim.ids()[0];
    sim.probed(worker, ProbeKind::Readiness, why("connection refused"));
    let status = sim.primary.status(sim.now);
    assert_eq!((status.ready, status.status), (0, Status::Starting));
    let reason = status.workers[0].reason.as_deref();
    assert_eq!(reason, Some("readiness has not passed: connection refused"));
    assert_eq!(sim.primary.probes_of(worker).collect::<Vec<_>>(), [ProbeKind::Readiness]);
    sim.probed(worker, ProbeKind::Readiness, ProbeResult::Passed);
    assert_eq!(sim.app_status(), Status::Ready);
}

#[test]
fn a_successor_that_does_not_pass_changes_nothing() {
    let mut sim = Sim::served(ready_by(GOOD, 2));
    let before = sim.ids();
    let client = sim.ask(Request::Reload { spec: None, pool: None });
    sim.until("the successor runs", |sim| sim.ids().len() == 3);
    let successor = sim.ids()[2];
    sim.until("it is asked", |sim| sim.primary.probes_of(successor).count() == 1);
    sim.fails(successor, ProbeKind::Readiness);
    let (kind, reason, _) = failed(sim.answer(client));
    assert_eq!(kind, FailureKind::RolledBack);
    let said = "not ready within 30s: readiness has not passed: HTTP status 500";
    assert!(reason.ends_with(said), "{reason}");
    assert_eq!((sim.ids(), sim.steered()), (before, vec![0, 1]));
}

/// The hole that `observe` had: a worker that lives, and whose readiness fails.
#[test]
fn a_new_worker_that_fails_its_probe_while_it_is_observed_rolls_back() {
    for kind in [ProbeKind::Readiness, ProbeKind::Liveness] {
        let mut spec = AppSpec { liveness: probe(), ..ready_by(GOOD, 1) };
        spec.times.observe = Duration::from_secs(20);
        let mut sim = Sim::served(spec);
        let before = sim.ids();
        let client = sim.ask(Request::Reload { spec: None, pool: None });
        sim.passing("it takes over", |sim| sim.told(NoticeKind::SlotReplaced).len() == 1);
        sim.passing("the old one is gone", |sim| !sim.ids().contains(&before[0]));
        sim.pass(Duration::from_secs(10));
        sim.fails(sim.ids()[0], kind);
        sim.passing("the answer", |sim| sim.has_answered(client));
        let (kind, reason, _) = failed(sim.answer(client));
        assert_eq!(kind, FailureKind::RolledBack);
        let said = "failed 2 times in a row: HTTP status 500";
        assert!(reason.ends_with(said), "{reason}");
        assert_eq!((sim.generations(), sim.app_status()), (vec![1], Status::Ready));
    }
}

/// A database goes away after a reload has replaced all workers, and before it ends.
#[test]
fn a_rollback_that_can_bring_nothing_back_takes_nothing_away() {
    let mut spec = ready_by(GOOD, 2);
    spec.times.observe = Duration::from_secs(20);
    let mut sim = Sim::served(spec);
    let client = sim.ask(Request::Reload { spec: None, pool: None });
    sim.passing("all are replaced", |sim| sim.told(NoticeKind::SlotReplaced).len() == 2);
    sim.passing("the old ones are gone", |sim| sim.generations() == [2, 2]);
    let new = sim.ids();
    for worker in &new {
        sim.fails(*worker, ProbeKind::Readiness);
    }
    let (kind, ..) = failed(sim.answer(client));
    assert_eq!(kind, FailureKind::RolledBack);
    assert_eq!((sim.ids(), sim.generations()), (new.clone(), vec![2, 2]), "they serve on");
    let told = sim.told(NoticeKind::Warning);
    let told = told.iter().filter(|told| told.starts_with("generation 1 does not come back (not"));
    assert_eq!(told.count(), 2);
    // The configuration that serves is the one from before: a worker that dies is replaced by it.
    sim.murder(new[0]);
    sim.passing("another one", |sim| sim.generations() == [2, 1] && sim.ids().len() == 2);
}

/// The same while workers of the old generation are still there: they fail as well, so the new code
/// is not to blame.
#[test]
fn readiness_that_fails_for_the_old_generation_too_rolls_nothing_back() {
    let mut spec = ready_by("serve port=8000 kept", 1);
    spec.times.observe = Duration::from_secs(20);
    let mut sim = Sim::served(AppSpec { wanted: 2, ..spec });
    sim.ask(Request::Reload { spec: None, pool: None });
    sim.passing("one is replaced", |sim| sim.told(NoticeKind::SlotReplaced).len() == 1);
    let ids = sim.ids();
    let (old, new) = (ids[1], ids[2]);
    sim.probed(old, ProbeKind::Readiness, why("HTTP status 500"));
    sim.fails(new, ProbeKind::Readiness);
    assert!(sim.primary.is_worker_ready(new), "it stays");
}

#[test]
fn a_predecessor_that_still_drains_serves_again_at_once() {
    let mut sim = Sim::served(ready_by("serve port=8000 kept", 1));
    let before = sim.ids();
    sim.ask(Request::Reload { spec: None, pool: None });
    sim.passing("it takes over", |sim| sim.told(NoticeKind::SlotReplaced).len() == 1);
    let new = sim.ids()[1];
    sim.fails(new, ProbeKind::Readiness);
    assert!(sim.primary.is_worker_ready(before[0]), "it is taken back");
    sim.passing("the new one is gone", |sim| sim.ids() == before);
}

#[test]
fn a_worker_whose_readiness_fails_gets_no_connections_until_it_passes() {
    let mut sim = Sim::served(ready_by(GOOD, 3));
    let workers = sim.ids();
    sim.probed(workers[1], ProbeKind::Readiness, why("HTTP status 500"));
    assert_eq!(sim.steered(), [0, 1, 2], "one failure is not enough");
    sim.probed(workers[1], ProbeKind::Readiness, why("HTTP status 500"));
    assert_eq!((sim.steered(), sim.ids()), (vec![0, 2], workers.clone()), "it lives");
    let said = "readiness failed 2 times in a row: HTTP status 500";
    let status = sim.primary.status(sim.now);
    assert_eq!((status.status, status.ready), (Status::Degraded, 3));
    assert_eq!(status.reason.as_deref(), Some(&*format!("slot 1: {said}")));
    let told = sim.told(NoticeKind::WorkerWithdrawn);
    assert_eq!(told, [format!("gets no new connections until readiness passes: {said}")]);
    sim.probed(workers[1], ProbeKind::Readiness, ProbeResult::Passed);
    assert_eq!((sim.steered(), sim.app_status()), (vec![0, 1, 2], Status::Ready));
    let told = sim.told(NoticeKind::WorkerReturned);
    assert_eq!(told, ["gets new connections again: readiness no longer fails"]);
    assert_eq!(sim.primary.status(sim.now).restarts, 0);
}

#[test]
fn the_last_worker_serves_on_whatever_its_probe_says() {
    let mut sim = Sim::served(ready_by(GOOD, 2));
    let workers = sim.ids();
    sim.fails(workers[0], ProbeKind::Readiness);
    sim.fails(workers[1], ProbeKind::Readiness);
    assert_eq!(sim.steered(), [1]);
    let reason = sim.primary.status(sim.now).workers[1].reason.clone().expect("it fails");
    assert!(reason.starts_with("gets connections, because no other worker does"), "{reason}");
    sim.murder(workers[1]);
    sim.until("the other one serves", |sim| sim.steered() == [0]);
    let told = sim.told(NoticeKind::WorkerReturned);
    assert!(
        told[0].ends_with("no other worker serves, although readiness still fails"),
        "{told:?}"
    );
    sim.passing("a new one", |sim| sim.ids().len() == 2 && sim.steered() == [0, 1]);
}

#[test]
fn a_probe_that_cannot_be_made_holds_nobody_back() {
    let mut sim = Sim::begun(ready_by(GOOD, 1), 7);
    sim.pass(Duration::from_secs(1));
    let worker = sim.ids()[0];
    let unknown = ProbeResult::Unknown("its workers share one socket".to_owned());
    sim.probed(worker, ProbeKind::Readiness, unknown);
    let status = sim.primary.status(sim.now);
    assert_eq!(status.status, Status::Ready);
    let reason = status.workers[0].reason.as_deref();
    assert_eq!(reason, Some("readiness is unknown: its workers share one socket"));
}

#[test]
fn a_worker_whose_liveness_fails_is_replaced_and_serves_until_then() {
    let mut sim = up(alive_by(GOOD, 2));
    let before = sim.ids();
    sim.fails(before[0], ProbeKind::Liveness);
    assert_eq!(sim.steered(), [0, 1], "it serves until its successor is ready");
    sim.until("the replacement", |sim| sim.primary.status(sim.now).recycles == 1);
    sim.until("the old one is gone", |sim| !sim.ids().contains(&before[0]));
    let told = sim.told(NoticeKind::WorkerRecycled);
    let said = "is replaced as soon as its successor is ready: liveness failed 2 times in a row: \
                HTTP status 500";
    assert_eq!(told, [said]);
    let status = sim.primary.status(sim.now);
    assert_eq!((status.restarts, status.status), (0, Status::Ready));
}

#[test]
fn a_program_that_is_never_alive_is_replaced_only_so_often() {
    let mut spec = alive_by(GOOD, 1);
    spec.restart.max_restarts = 3;
    let mut sim = up(spec);
    let began = sim.now;
    while sim.now.since(began) < Duration::from_secs(50) {
        for worker in sim.ids() {
            if sim.primary.probes_of(worker).count() == 1 {
                sim.fails(worker, ProbeKind::Liveness);
            }
        }
        sim.pass(Duration::from_millis(500));
    }
    assert_eq!(sim.primary.status(sim.now).recycles, 3);
    let warnings = sim.told(NoticeKind::Warning);
    assert!(warnings.len() == 1, "{warnings:?}");
    assert!(warnings[0].starts_with("a new worker does not help: its slot was recycled"));
    assert_eq!(sim.app_status(), Status::Ready);
}
