//! Scenarios of blue/green: the switch, the generation that stays, and the way back.

use config::change::SpecChange;
use ipc::control::{Method, RolloutCommand};

use super::super::Primary;
use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn blue_green(keep_old: Duration) -> Request {
    let keep_old_ms = u64::try_from(keep_old.as_millis()).expect("short");
    let change = SpecChange { env: vec![("A".into(), "1".into())], ..SpecChange::default() };
    Request::Configure { change, method: Method::BlueGreen { keep_old_ms } }
}

/// An app of three workers whose first generation stays.
fn warm() -> Sim {
    let mut sim = up(app(GOOD, 3));
    let client = sim.ask(blue_green(MINUTE));
    let said = done(sim.answer(client));
    assert!(said.contains("generation 1 stays for 60s: "), "{said}");
    sim
}

fn rollback(sim: &mut Sim) -> Reply {
    let client = sim.ask(Request::Rollback);
    sim.answer(client)
}

fn seated(sim: &Sim) -> Vec<u32> {
    let primary = &sim.primary;
    let workers = primary.wanted().filter_map(|(_, state)| primary.seated(state));
    workers.map(|worker| worker.plan.generation.0).collect()
}

#[test]
fn all_slots_change_hands_in_one_step_and_the_old_workers_leave() {
    let mut sim = up(app(GOOD, 3));
    let client = sim.ask(blue_green(Duration::ZERO));
    sim.until("six workers", |sim| sim.ids().len() == 6);
    sim.until("the switch", |sim| seated(sim) != [1, 1, 1]);
    assert_eq!(seated(&sim), [2, 2, 2]);
    // Each listener was steered once for it.
    let slots: Vec<u16> = sim.primary.status(sim.now).listeners[0].slots.clone();
    assert_eq!(slots, [0, 1, 2]);
    assert!(done(sim.answer(client)).contains("3 workers replaced"));
    assert_eq!(sim.generations(), [2, 2, 2]);
    let (_, reason, _) = failed(rollback(&mut sim));
    assert_eq!(reason, "cannot roll web back: generation 1 stays no longer: it was not asked to");
}

#[test]
fn a_rollback_gives_all_slots_back_and_works_once() {
    let mut sim = warm();
    assert_eq!((sim.ids().len(), seated(&sim)), (6, vec![2, 2, 2]));
    assert_eq!(sim.app_status(), Status::Ready);
    let before = sim.now;
    let said = done(rollback(&mut sim));
    let expected = "web: generation 2 was rolled back, generation 1 serves: a request asked for \
                    that";
    assert_eq!((said.as_str(), seated(&sim)), (expected, vec![1, 1, 1]));
    assert!(sim.now.since(before) < Duration::from_millis(5));
    sim.pass(MINUTE);
    assert_eq!((sim.generations(), sim.cut), (vec![1, 1, 1], 0));
    let (_, reason, _) = failed(rollback(&mut sim));
    assert_eq!(reason, "cannot roll web back: generation 1 stays no longer: it serves again");
    // The next generation has a number of its own.
    let client = sim.ask(blue_green(MINUTE));
    done(sim.answer(client));
    assert_eq!(seated(&sim), [3, 3, 3]);
}

#[test]
fn the_old_generation_goes_when_its_time_is_over() {
    let mut sim = warm();
    sim.pass(MINUTE * 2);
    assert_eq!(sim.generations(), [2, 2, 2]);
    let (_, reason, _) = failed(rollback(&mut sim));
    assert!(reason.ends_with("its time was over"), "{reason}");
}

#[test]
fn the_old_generation_goes_if_one_of_its_workers_dies() {
    let mut sim = warm();
    let victim = sim.ids()[1];
    sim.murder(victim);
    sim.pass(MINUTE / 2);
    assert_eq!((sim.generations(), sim.app_status()), (vec![2, 2, 2], Status::Ready));
    let (_, reason, _) = failed(rollback(&mut sim));
    assert!(reason.contains("its worker in slot 1 ended: signal SIGKILL"), "{reason}");
}

#[test]
fn the_old_generation_goes_before_the_next_reload() {
    let mut sim = warm();
    let client = sim.ask(reload(GOOD, 3));
    sim.until("a worker of the next", |sim| sim.generations().contains(&3));
    assert!(!sim.generations().contains(&1), "{:?}", sim.generations());
    done(sim.answer(client));
    assert_eq!(sim.generations(), [3, 3, 3]);
}

#[test]
fn the_old_generation_goes_when_the_app_is_scaled_and_only_then() {
    let mut sim = warm();
    let scale = |sim: &mut Sim, wanted: u16| {
        let client = sim.ask(Request::Scale { wanted, because: String::new(), pool: None });
        done(sim.answer(client))
    };
    assert!(scale(&mut sim, 3).contains("already"));
    assert_eq!(sim.generations(), [1, 1, 1, 2, 2, 2]);
    scale(&mut sim, 4);
    sim.until("the old workers to leave", |sim| sim.ids().len() == 4);
    let (_, reason, _) = failed(rollback(&mut sim));
    assert!(reason.ends_with("another change of the app began"), "{reason}");
}

#[test]
fn a_generation_that_fails_before_the_switch_changes_nothing() {
    let mut sim = up(app(GOOD, 3));
    let before = sim.ids();
    let client = sim.ask(blue_green(MINUTE));
    sim.until("six workers", |sim| sim.ids().len() == 6);
    let last = sim.ids()[5];
    sim.until("they are ready", |sim| sim.told(NoticeKind::WorkerReady).len() == 6);
    sim.murder(last);
    assert_eq!(failed(sim.answer(client)).0, FailureKind::RolledBack);
    assert_eq!(sim.ids(), before);
    assert_eq!(sim.told(NoticeKind::WorkerDraining).len(), 0);
}

#[test]
fn a_failure_after_the_switch_and_an_abort_switch_back() {
    for aborts in [false, true] {
        let mut sim = up(app(GOOD, 3));
        let before = sim.ids();
        let client = sim.ask(blue_green(Duration::ZERO));
        sim.until("the switch", |sim| seated(sim) == [2, 2, 2]);
        if aborts {
            sim.ask(Request::Rollout { command: RolloutCommand::Abort });
        } else {
            let new = sim.ids()[4];
            sim.murder(new);
            sim.until("the way back", |sim| seated(sim) != [2, 2, 2]);
        }
        assert_eq!(seated(&sim), [1, 1, 1]);
        assert_eq!(failed(sim.answer(client)).0, FailureKind::RolledBack);
        // A rescue serves what waits for the worker that died.
        sim.pass(MINUTE);
        assert_eq!(sim.ids(), before);
    }
}

#[test]
fn a_pause_holds_the_switch_back() {
    let mut sim = up(app(GOOD, 3));
    let client = sim.ask(blue_green(Duration::ZERO));
    sim.until("six workers", |sim| sim.ids().len() == 6);
    sim.ask(Request::Rollout { command: RolloutCommand::Pause { for_ms: 600_000 } });
    sim.pass(MINUTE);
    assert_eq!((seated(&sim), sim.ids().len()), (vec![1, 1, 1], 6));
    sim.ask(Request::Rollout { command: RolloutCommand::Resume });
    done(sim.answer(client));
    assert_eq!(seated(&sim), [2, 2, 2]);
}

#[test]
fn other_numbers_of_workers_come_and_go_with_the_switch() {
    let mut sim = up(app(GOOD, 2));
    let client = sim.ask(Request::Scale { wanted: 3, because: String::new(), pool: None });
    done(sim.answer(client));
    let client = sim.ask(blue_green(MINUTE));
    done(sim.answer(client));
    assert_eq!(seated(&sim), [2, 2, 2]);
    done(rollback(&mut sim));
    assert_eq!(seated(&sim), [1, 1, 1]);
}

#[test]
fn sockets_that_all_workers_share_cannot_be_switched() {
    let mut sim = up(app("serve port=7000", 2));
    let (kind, reason, _) = sim.refuses(blue_green(MINUTE));
    assert_eq!(kind, FailureKind::RolledBack);
    assert!(reason.contains("all workers share the socket of 127.0.0.1:7000"), "{reason}");
}

#[test]
fn a_generation_that_stays_can_be_restored() {
    let sim = warm();
    let text = sim.primary.snapshot().expect("text").get().to_owned();
    let restored = Primary::restore(&text).expect("a valid snapshot");
    let warm = restored.warm.expect("it stays");
    assert_eq!(warm.until, sim.primary.warm.as_ref().expect("it stays").until);
    assert_eq!(warm.planned.generation.0, 1);
}
