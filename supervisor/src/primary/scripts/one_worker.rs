//! Scenarios in which the worker of one slot is replaced.

use std::collections::BTreeMap;

use super::super::Primary;
use super::*;

/// The worker and its generation in each slot.
fn crew(sim: &Sim) -> BTreeMap<u16, (WorkerId, u32)> {
    sim.primary.workers().map(|(id, slot, of)| (slot.0, (id, of.0))).collect()
}

fn replace(sim: &mut Sim, slot: u16) -> Reply {
    let client = sim.ask(Request::ReplaceWorker { slot });
    sim.answer(client)
}

#[test]
fn one_worker_is_replaced_and_no_other() {
    let mut sim = up(app(GOOD, 3));
    let before = crew(&sim);
    let message = done(replace(&mut sim, 1));
    assert!(message.starts_with("web: slot 1 has a new worker after "), "{message}");
    let after = crew(&sim);
    assert_eq!(after.len(), 3);
    assert_eq!((after[&0], after[&2]), (before[&0], before[&2]));
    assert!(after[&1].0 != before[&1].0 && after[&1].1 == 2, "{after:?}");
    // The successor was ready before the old worker left.
    let told: Vec<NoticeKind> = sim.notices.iter().map(|notice| notice.event).collect();
    let at = |kind| told.iter().rposition(|told| *told == kind).unwrap();
    assert!(at(NoticeKind::SlotReplaced) < at(NoticeKind::WorkerStopped), "{told:?}");
    // A number of workers, and its generation, outlive scaling; the next reload replaces all.
    let scale = |wanted| Request::Scale { wanted, because: String::new(), pool: None };
    for wanted in [4, 3] {
        let client = sim.ask(scale(wanted));
        done(sim.answer(client));
    }
    assert_eq!(crew(&sim), after);
    let client = sim.ask(Request::Reload { spec: None, pool: None });
    let message = done(sim.answer(client));
    assert!(message.starts_with("web: generation 3 serves; 3 workers replaced"), "{message}");
    assert!(crew(&sim).values().all(|(_, generation)| *generation == 3));
}

#[test]
fn a_worker_that_fails_is_rolled_back_and_its_predecessor_serves() {
    let mut sim = up(app(GOOD, 2));
    done(replace(&mut sim, 0));
    let before = crew(&sim);
    let client = sim.ask(Request::ReplaceWorker { slot: 1 });
    let successor = |sim: &Sim| {
        let mut workers = sim.primary.workers();
        workers.find(|(_, _, generation)| generation.0 == 3).map(|(id, ..)| id)
    };
    let ready = sim.told(NoticeKind::WorkerReady).len();
    sim.until("the successor is ready", |sim| sim.told(NoticeKind::WorkerReady).len() > ready);
    let id = successor(&sim).expect("it lives");
    sim.murder(id);
    let (kind, reason, _) = failed(sim.answer(client));
    assert_eq!(kind, FailureKind::RolledBack);
    let expected = "web: generation 3 was rolled back, generation 1 serves: slot 1: ";
    assert!(reason.starts_with(expected), "{reason}");
    assert_eq!(crew(&sim), before);
    // Slot 0 keeps the generation that it got alone, also if its worker dies.
    sim.murder(before[&0].0);
    sim.until("slot 0 has another worker", |sim| {
        crew(sim).get(&0).is_some_and(|(id, _)| *id != before[&0].0)
    });
    assert_eq!(crew(&sim)[&0].1, 2);
}

#[test]
fn what_cannot_be_replaced_is_refused() {
    let mut sim = up(app(GOOD, 2));
    let (kind, reason, _) = failed(replace(&mut sim, 2));
    assert_eq!(kind, FailureKind::Usage);
    assert_eq!(reason, "web has no slot 2; its slots are 0 to 1");
    let client = sim.ask(Request::Stop { fast: true });
    done(sim.answer(client));
    let (kind, reason, _) = failed(replace(&mut sim, 0));
    assert_eq!((kind, reason.as_str()), (FailureKind::Failed, "web is stopped; use start"));
}

#[test]
fn the_state_of_a_replacement_can_be_restored() {
    let mut sim = up(app(GOOD, 2));
    done(replace(&mut sim, 1));
    let text = sim.primary.snapshot().expect("text").get().to_owned();
    let restored = Primary::restore(&text).expect("a valid snapshot");
    assert_eq!(restored.serving.alone, sim.primary.serving.alone);
    assert_eq!(restored.serving.alone.len(), 1);
}
