//! Scenarios of workers that are well and reach a limit.

use config::spec::RecyclePolicy;

use super::*;
use crate::primary::event::{Cue, Event, Scheduled, Used};

const MIB: u64 = 1 << 20;

fn limited(command: &str, wanted: u16, recycle: RecyclePolicy) -> AppSpec {
    AppSpec { recycle, ..app(command, wanted) }
}

fn by_memory() -> RecyclePolicy {
    RecyclePolicy { max_memory: 100 * MIB, jitter: 0, ..RecyclePolicy::default() }
}

impl Sim {
    fn uses(&mut self, worker: WorkerId, memory: u64) {
        let used = Used { memory: memory * MIB, growth: 0, connections: None };
        self.feed(Event::Worker { worker, cue: Cue::Used(used) });
    }

    fn recycles(&self) -> u64 {
        self.primary.status(self.now).recycles
    }
}

#[test]
fn a_worker_above_its_limit_is_replaced_and_that_is_no_failure() {
    let mut sim = up(limited(GOOD, 2, by_memory()));
    let before = sim.ids();
    sim.uses(before[0], 99);
    assert_eq!(sim.ids(), before);
    sim.uses(before[0], 120);
    assert_eq!(sim.primary.ready_count(), 2, "the old worker serves on");
    sim.until("the replacement", |sim| sim.recycles() == 1);
    sim.until("the old one is gone", |sim| !sim.ids().contains(&before[0]));
    assert_eq!(sim.generations(), [1, 1]);
    let status = sim.primary.status(sim.now);
    assert_eq!((status.restarts, status.status), (0, Status::Ready));
    assert_eq!(status.workers[0].recycles, 1);
    let exit = status.workers[0].last_exit.clone().expect("it ended");
    let why = "its resident memory (RSS) is 120 MiB, its limit is 100 MiB";
    assert!(exit.starts_with("recycled (") && exit.ends_with(why), "{exit}");
    let told = sim.told(NoticeKind::WorkerRecycled);
    assert_eq!(told, [format!("is replaced as soon as its successor is ready: {why}")]);
    assert_eq!(sim.told(NoticeKind::WorkerFailed), [""; 0]);
}

#[test]
fn workers_that_are_too_old_go_one_after_the_other() {
    let recycle =
        RecyclePolicy { max_age: Duration::from_secs(20), jitter: 50, ..RecyclePolicy::default() };
    let mut sim = up(limited(GOOD, 3, recycle));
    let before = sim.ids();
    sim.until("all are replaced", |sim| sim.recycles() == 3);
    assert!(sim.now.since(sim.born()) >= Duration::from_secs(10));
    assert!(sim.ids().iter().filter(|id| before.contains(id)).count() <= 1);
}

#[test]
fn a_reload_goes_first_and_a_recycled_worker_does_not_hold_it_up_for_ever() {
    let mut sim = up(limited(GOOD, 2, by_memory()));
    let client = sim.ask(reload(GOOD, 2));
    let victim = sim.ids()[0];
    sim.uses(victim, 500);
    done(sim.answer(client));
    assert_eq!(sim.told(NoticeKind::WorkerRecycled), [""; 0]);
    assert_eq!(sim.generations(), [2, 2]);
}

#[test]
fn a_successor_that_fails_leaves_the_old_worker_in_its_place() {
    let mut sim = up(limited("serve port=8000", 1, by_memory()));
    let old = sim.ids()[0];
    sim.uses(old, 200);
    sim.until("it runs", |sim| sim.told(NoticeKind::WorkerStarted).len() == 2);
    let successor = sim.ids()[1];
    sim.murder(successor);
    sim.until("it is told", |sim| !sim.told(NoticeKind::Warning).is_empty());
    let warning = sim.told(NoticeKind::Warning)[0];
    assert!(warning.contains("the old worker serves on; tried again in"), "{warning}");
    assert_eq!(sim.ids(), [old]);
    assert_eq!(sim.recycles(), 0);
    sim.until("another attempt", |sim| sim.recycles() == 1);
    assert_eq!(sim.primary.status(sim.now).restarts, 0);
}

#[test]
fn a_successor_takes_the_seat_of_a_worker_that_dies_meanwhile() {
    let mut sim = up(limited(GOOD, 1, by_memory()));
    let old = sim.ids()[0];
    sim.uses(old, 200);
    let successor = sim.ids()[1];
    sim.murder(old);
    sim.until("it serves", |sim| sim.ids() == [successor] && sim.app_status() == Status::Ready);
    let status = sim.primary.status(sim.now);
    assert_eq!((status.restarts, status.recycles), (1, 0));
}

#[test]
fn memory_that_grows_too_fast_is_told_and_bounded() {
    let mut spec = limited(GOOD, 1, by_memory());
    spec.restart.max_restarts = 3;
    let mut sim = up(spec);
    let began = sim.now;
    while sim.now.since(began) < Duration::from_secs(120) {
        for worker in sim.ids() {
            sim.uses(worker, 300);
        }
        sim.pass(Duration::from_millis(500));
    }
    assert!((6..=7).contains(&sim.recycles()), "{} in two windows of a minute", sim.recycles());
    let warnings = sim.told(NoticeKind::Warning);
    assert!(
        warnings[0].starts_with("its memory grows faster than recycling helps"),
        "{warnings:?}"
    );
    assert!(warnings.len() <= 2, "{warnings:?}");
}

#[test]
fn the_budget_bounds_the_replacements_of_a_minute() {
    let recycle = RecyclePolicy { budget: 2, ..by_memory() };
    let mut sim = up(limited(GOOD, 4, recycle));
    let before = sim.ids();
    for worker in &before {
        sim.uses(*worker, 150);
    }
    sim.pass(Duration::from_secs(50));
    assert_eq!(sim.recycles(), 2);
    let warnings = sim.told(NoticeKind::Warning);
    let said = "cannot be replaced yet, because 2 workers were within the last minute";
    assert!(warnings.len() == 1 && warnings[0].starts_with(said), "{warnings:?}");
    sim.until("the others", |sim| sim.recycles() == 4);
    assert!(sim.now.since(sim.born()) > Duration::from_secs(60));
}

#[test]
fn a_schedule_replaces_all_workers_once_and_not_during_a_reload() {
    let planned = |next| Scheduled { cron: "@daily".to_owned(), zone: None, next: Some(next) };
    let mut sim = up(app(GOOD, 2));
    sim.feed(Event::Schedule { planned: Some(planned(5)), is_due: false });
    assert_eq!(sim.generations(), [1, 1]);
    assert_eq!(sim.primary.status(sim.now).next_restart_unix_ms, Some(5));
    sim.feed(Event::Schedule { planned: Some(planned(9)), is_due: true });
    sim.feed(Event::Schedule { planned: Some(planned(11)), is_due: true });
    sim.until("the replacement", |sim| sim.told(NoticeKind::ReloadDone).len() == 1);
    assert_eq!(sim.generations(), [2, 2]);
    let said = sim.told(NoticeKind::ScheduleDue);
    assert!(said[0].ends_with("every worker is replaced"), "{said:?}");
    assert!(said[1].contains("nothing is done") && said.len() == 2, "{said:?}");
    sim.pass(Duration::from_secs(60));
    assert_eq!(sim.generations(), [2, 2]);
    let stop = sim.ask(Request::Stop { fast: false });
    done(sim.answer(stop));
    sim.feed(Event::Schedule { planned: Some(planned(13)), is_due: true });
    assert_eq!(sim.ids(), []);
}
