//! Scenarios in which a person pauses, resumes or aborts a rollout.

use ipc::control::RolloutCommand;

use super::super::Primary;
use super::*;

const HALF_AN_HOUR: u64 = 1_800_000;

fn command(sim: &mut Sim, command: RolloutCommand) -> Reply {
    let client = sim.ask(Request::Rollout { command });
    sim.answer(client)
}

fn pause(sim: &mut Sim) -> String {
    done(command(sim, RolloutCommand::Pause { for_ms: HALF_AN_HOUR }))
}

/// A rollout that is paused while its first slot is under way, and its client.
fn paused(wanted: u16) -> (Sim, ClientId) {
    let mut sim = up(app(GOOD, wanted));
    let client = sim.ask(reload(GOOD, wanted));
    let said = pause(&mut sim);
    assert!(said.starts_with("web: generation 2 is paused after 0 of 3 slots; "), "{said}");
    sim.until("the slot under way", |sim| sim.told(NoticeKind::SlotReplaced).len() == 1);
    sim.pass(Duration::from_secs(60));
    (sim, client)
}

#[test]
fn a_paused_rollout_finishes_its_slot_and_begins_no_other() {
    let (mut sim, client) = paused(3);
    assert_eq!(sim.generations(), [1, 1, 2]);
    let status = sim.primary.status(sim.now);
    assert_eq!(status.status, Status::Reloading);
    let rollout = status.rollout.expect("under way");
    assert_eq!((rollout.generation, rollout.replaced, rollout.slots), (2, 1, 3));
    assert!(rollout.paused_for_ms.is_some_and(|rest| rest < HALF_AN_HOUR), "{rollout:?}");
    let reason = status.reason.expect("a reason");
    assert!(reason.starts_with("generation 2 is paused after 1 of 3 slots, and "), "{reason}");
    // A change would wait for a person.
    let other = sim.ask(reload(GOOD, 3));
    let (kind, reason, _) = failed(sim.answer(other));
    assert_eq!(kind, FailureKind::Failed);
    assert!(reason.starts_with("a rollout of web is paused: "), "{reason}");
    assert!(!sim.has_answered(client));

    done(command(&mut sim, RolloutCommand::Resume));
    assert!(done(sim.answer(client)).contains("3 workers replaced"));
    assert_eq!(sim.generations(), [2, 2, 2]);
    assert_eq!(sim.told(NoticeKind::ReloadPaused).len(), 1);
    assert_eq!(sim.told(NoticeKind::ReloadResumed).len(), 1);
}

#[test]
fn an_aborted_rollout_goes_back_and_both_clients_hear_it() {
    let (mut sim, client) = paused(3);
    let said = done(command(&mut sim, RolloutCommand::Abort));
    let expected = "web: generation 2 was rolled back, generation 1 serves: it was aborted by a \
                    request";
    assert_eq!(said, expected);
    let (kind, reason, _) = failed(sim.answer(client));
    assert_eq!((kind, reason.as_str()), (FailureKind::RolledBack, expected));
    assert_eq!(sim.generations(), [1, 1, 1]);
    assert_eq!((sim.app_status(), sim.cut), (Status::Ready, 0));
}

#[test]
fn a_rollout_is_aborted_before_its_first_worker_took_over() {
    let mut sim = up(app(GOOD, 2));
    let before = sim.ids();
    let client = sim.ask(reload(GOOD, 2));
    done(command(&mut sim, RolloutCommand::Abort));
    let (kind, _, _) = failed(sim.answer(client));
    assert_eq!((kind, sim.ids()), (FailureKind::RolledBack, before));
    // While an address is being opened, it waits for that.
    let spec = listening(app(GOOD, 2), 8005);
    let client = sim.ask(Request::Reload { spec: Some(Box::new(spec)), pool: None });
    done(command(&mut sim, RolloutCommand::Abort));
    assert_eq!(failed(sim.answer(client)).0, FailureKind::RolledBack);
    assert_eq!(sim.primary.status(sim.now).listeners.len(), 1, "an address stays open");
}

#[test]
fn a_rollout_that_nobody_resumes_is_rolled_back() {
    let (mut sim, client) = paused(3);
    sim.pass(Duration::from_millis(HALF_AN_HOUR));
    let (kind, reason, _) = failed(sim.answer(client));
    assert_eq!(kind, FailureKind::RolledBack);
    assert!(reason.ends_with("it was paused for 30min and nobody resumed it"), "{reason}");
    assert_eq!(sim.generations(), [1, 1, 1]);
}

#[test]
fn a_worker_that_fails_during_a_pause_turns_the_rollout_round() {
    let (mut sim, client) = paused(3);
    let new = sim.ids()[2];
    sim.murder(new);
    let (kind, reason, _) = failed(sim.answer(client));
    assert_eq!(kind, FailureKind::RolledBack);
    assert!(reason.contains("slot 0: "), "{reason}");
}

#[test]
fn what_cannot_be_done_with_a_rollout_is_refused() {
    let mut sim = up(app(GOOD, 2));
    for any in [RolloutCommand::Pause { for_ms: HALF_AN_HOUR }, RolloutCommand::Resume] {
        let (kind, reason, _) = failed(command(&mut sim, any));
        assert_eq!(kind, FailureKind::Usage);
        assert_eq!(reason, "web has no rollout under way");
    }
    let client = sim.ask(reload(GOOD, 2));
    let (_, reason, _) = failed(command(&mut sim, RolloutCommand::Resume));
    assert_eq!(reason, "the rollout of web is not paused");
    let aborting = sim.ask(Request::Rollout { command: RolloutCommand::Abort });
    let (_, reason, _) = failed(command(&mut sim, RolloutCommand::Pause { for_ms: HALF_AN_HOUR }));
    assert_eq!(reason, "the rollout of web is being rolled back already");
    done(sim.answer(aborting));
    failed(sim.answer(client));
}

#[test]
fn a_pause_can_be_restored() {
    let (sim, _) = paused(3);
    let text = sim.primary.snapshot().expect("text").get().to_owned();
    let restored = Primary::restore(&text).expect("a valid snapshot");
    let (restored, now) = (restored.status(sim.now).rollout, sim.primary.status(sim.now).rollout);
    assert_eq!(restored, now);
    assert!(now.is_some_and(|rollout| rollout.paused_for_ms.is_some()));
}
