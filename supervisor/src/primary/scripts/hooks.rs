//! Scenarios of hooks.

use config::spec::{HookKind, Hooks};

use super::*;
use crate::primary::sim::Life;

/// An app with these hooks: `ok=MS`, `fail=MS`, `hang`, `missing`.
fn hooked(command: &str, wanted: u16, hooks: &[(HookKind, &str)]) -> AppSpec {
    let mut all = Hooks { timeout: Duration::from_secs(2), ..Hooks::default() };
    for (kind, word) in hooks {
        let command = vec![(*word).to_owned()];
        match kind {
            HookKind::PreStart => all.pre_start = command,
            HookKind::PostReady => all.post_ready = command,
            HookKind::PreStop => all.pre_stop = command,
            HookKind::PostStop => all.post_stop = command,
            HookKind::OnCrash => all.on_crash = command,
            HookKind::OnRollback => all.on_rollback = command,
            HookKind::ObserveCheck => all.observe_check = command,
        }
    }
    AppSpec { hooks: all, ..app(command, wanted) }
}

impl Sim {
    /// Whether a hook of this kind runs.
    fn hooks_of(&self, kind: HookKind) -> usize {
        self.hooks.values().filter(|hook| hook.kind == kind).count()
    }

    fn warned(&self, text: &str) -> usize {
        let about = |notice: &&ipc::control::Notice| notice.message.contains(text);
        self.notices.iter().filter(about).count()
    }
}

#[test]
fn a_program_starts_after_its_pre_start() {
    let mut sim = Sim::begun(hooked(GOOD, 1, &[(HookKind::PreStart, "ok=1500")]), 7);
    sim.pass(Duration::from_secs(1));
    let status = sim.primary.status(sim.now);
    assert_eq!(status.workers[0].state, WorkerState::Spawning);
    assert_eq!(status.workers[0].reason.as_deref(), Some("\"pre_start\" runs"));
    assert_eq!(sim.fakes[&sim.ids()[0]].life, Life::Awaited);
    sim.until("it is ready", |sim| sim.app_status() == Status::Ready);
}

#[test]
fn a_pre_start_that_fails_or_hangs_fails_the_start() {
    for (word, why) in [
        ("fail=5", "pre_start failed: exit code 1"),
        ("hang", "pre_start failed: it did not end within 2s and was killed"),
    ] {
        let mut sim = Sim::begun(hooked(GOOD, 1, &[(HookKind::PreStart, word)]), 7);
        let client = sim.ask(Request::WaitReady);
        let (_, reason, lines) = failed(sim.answer(client));
        assert!(reason.contains(why), "{reason}");
        assert_eq!(lines, ["said a hook"]);
    }
}

#[test]
fn a_pre_start_that_fails_rolls_a_reload_back_and_on_rollback_runs_once() {
    let hooks = [(HookKind::OnRollback, "ok=5")];
    let mut sim = up(hooked(GOOD, 2, &hooks));
    let before = sim.ids();
    let new = hooked(GOOD, 2, &[(HookKind::PreStart, "fail=5")]);
    let client = sim.ask(Request::Reload { spec: Some(Box::new(new)), pool: None });
    sim.until("on_rollback runs", |sim| sim.hooks_of(HookKind::OnRollback) == 1);
    let (kind, reason, _) = failed(sim.answer(client));
    assert_eq!(kind, FailureKind::RolledBack);
    assert!(reason.contains("pre_start failed: exit code 1"), "{reason}");
    sim.pass(Duration::from_secs(10));
    assert_eq!((sim.ids(), sim.hooks.len()), (before, 0));
}

#[test]
fn a_drain_begins_after_pre_stop() {
    let mut sim = up(hooked(GOOD, 1, &[(HookKind::PreStop, "ok=1500")]));
    let old = sim.ids()[0];
    sim.ask(Request::Reload { spec: None, pool: None });
    sim.until("it runs", |sim| sim.hooks_of(HookKind::PreStop) == 1);
    sim.pass(Duration::from_secs(1));
    assert!(!sim.fakes[&old].told && !sim.fakes[&old].looked_at, "it is left alone");
    sim.pass(Duration::from_secs(1));
    assert!(sim.fakes[&old].told);
}

#[test]
fn a_pre_stop_that_hangs_delays_the_end_by_its_limit() {
    let mut sim = up(hooked(GOOD, 1, &[(HookKind::PreStop, "hang")]));
    let old = sim.ids()[0];
    let stop = sim.ask(Request::Stop { fast: false });
    sim.pass(Duration::from_millis(1900));
    let listener = sim.listener_at("127.0.0.1:8000").expect("it is open");
    sim.connect(listener);
    assert!(!sim.fakes[&old].told, "it serves while its pre_stop runs");
    assert_eq!(sim.listeners[&listener].queues.values().sum::<u32>(), 1);
    sim.pass(Duration::from_millis(700));
    done(sim.answer(stop));
    assert_eq!(sim.warned("pre_stop failed: it did not end within 2s"), 1);
}

/// A load balancer takes one worker out at once and the other one later. Nobody would accept what
/// comes to the first one in between.
#[test]
fn while_an_app_stops_all_serve_until_the_last_pre_stop_has_ended() {
    let mut sim = up(hooked(GOOD, 2, &[(HookKind::PreStop, "ok=100")]));
    let first = sim.ids()[0];
    let hooks = [(HookKind::PreStop, "ok=1500"), (HookKind::ObserveCheck, "ok=1900")];
    let slow = Some(Box::new(hooked(GOOD, 2, &hooks)));
    let client = sim.ask(Request::Reload { spec: slow, pool: None });
    // The app stops in the middle of a reload, with one worker of each kind.
    sim.until("one is replaced", |sim| !sim.ids().contains(&first));
    let stop = sim.ask(Request::Stop { fast: false });
    let ids = sim.ids();
    sim.until("the fast one has ended", |sim| sim.hooks_of(HookKind::PreStop) == 1);
    sim.pass(Duration::from_millis(500));
    assert!(ids.iter().all(|id| !sim.fakes[id].told && !sim.fakes[id].looked_at), "both serve");
    done(sim.answer(stop));
    failed(sim.answer(client));
}

#[test]
fn a_fast_stop_waits_for_no_pre_stop() {
    let mut sim = up(hooked(GOOD, 1, &[(HookKind::PreStop, "hang")]));
    let old = sim.ids()[0];
    sim.ask(Request::Stop { fast: true });
    assert!(sim.fakes[&old].told);
    assert_eq!(sim.hooks_of(HookKind::PreStop), 0);
}

#[test]
fn a_worker_that_has_taken_leave_is_not_taken_back() {
    let mut sim = up(hooked(GOOD, 1, &[(HookKind::PreStop, "ok=1500")]));
    let old = sim.ids()[0];
    let bad = hooked("serve port=8000 crash-after=1200", 1, &[]);
    sim.ask(Request::Reload { spec: Some(Box::new(bad)), pool: None });
    sim.until("it runs", |sim| sim.hooks_of(HookKind::PreStop) == 1);
    sim.until("the old generation serves again", |sim| sim.app_status() == Status::Ready);
    assert!(!sim.ids().contains(&old));
    assert_eq!(sim.generations(), [1]);
}

#[test]
fn hooks_after_an_end_run_by_its_cause() {
    let hooks = [(HookKind::OnCrash, "ok=500"), (HookKind::PostStop, "ok=500")];
    let mut sim = up(hooked(GOOD, 1, &hooks));
    let running = |sim: &Sim| (sim.hooks_of(HookKind::OnCrash), sim.hooks_of(HookKind::PostStop));
    sim.murder(sim.ids()[0]);
    assert_eq!(running(&sim), (1, 1));
    sim.until("it is ready again", |sim| sim.app_status() == Status::Ready && sim.hooks.is_empty());
    let stop = sim.ask(Request::Stop { fast: false });
    sim.until("it has ended", |sim| running(sim) == (0, 1));
    assert!(sim.primary.workers().next().is_none());
    done(sim.answer(stop));
    assert_eq!(running(&sim), (0, 0), "a stop waits for them");
}

#[test]
fn the_other_slots_wait_for_the_check_of_the_canary() {
    let mut sim = up(app(GOOD, 3));
    let new = hooked(GOOD, 3, &[(HookKind::ObserveCheck, "ok=1500")]);
    let client = sim.ask(Request::Reload { spec: Some(Box::new(new)), pool: None });
    sim.until("the check runs", |sim| sim.hooks_of(HookKind::ObserveCheck) == 1);
    sim.pass(Duration::from_secs(1));
    assert_eq!(sim.told(NoticeKind::SlotReplaced).len(), 1);
    done(sim.answer(client));
    assert_eq!((sim.generations(), sim.hooks.len()), (vec![2, 2, 2], 0));
}

#[test]
fn a_check_that_fails_or_hangs_rolls_back() {
    for (word, why) in [("fail=5", "exit code 1"), ("hang", "it did not end within 2s")] {
        let mut sim = up(app(GOOD, 2));
        let new = hooked(GOOD, 2, &[(HookKind::ObserveCheck, word)]);
        let client = sim.ask(Request::Reload { spec: Some(Box::new(new)), pool: None });
        let (kind, reason, _) = failed(sim.answer(client));
        assert_eq!(kind, FailureKind::RolledBack);
        assert!(reason.contains(&format!("observe_check failed: {why}")), "{reason}");
        assert_eq!(sim.generations(), [1, 1]);
    }
}

/// As one that runs `sudo`, under a primary without the rights of root.
#[test]
fn nothing_waits_for_ever_for_a_hook_that_a_kill_does_not_end() {
    let abandoned = "pre_stop failed: it was killed and has not ended 5s later";
    let mut sim = Sim::begun(hooked(GOOD, 1, &[(HookKind::PreStart, "immortal")]), 7);
    let client = sim.ask(Request::WaitReady);
    let (_, reason, _) = failed(sim.answer(client));
    assert!(reason.contains("pre_start failed: it was killed"), "{reason}");

    let mut sim = up(hooked(GOOD, 1, &[(HookKind::PreStop, "immortal")]));
    let client = sim.ask(Request::Reload { spec: None, pool: None });
    done(sim.answer(client));
    sim.until("it is abandoned", |sim| sim.warned(abandoned) == 1 && sim.hooks.is_empty());
    let client = sim.ask(Request::Delete { fast: false });
    done(sim.answer(client));

    let mut sim = up(app(GOOD, 2));
    let new = hooked(GOOD, 2, &[(HookKind::ObserveCheck, "immortal")]);
    let client = sim.ask(Request::Reload { spec: Some(Box::new(new)), pool: None });
    let (kind, reason, _) = failed(sim.answer(client));
    assert_eq!(kind, FailureKind::RolledBack);
    assert!(reason.contains("observe_check failed: it was killed"), "{reason}");
}

#[test]
fn hooks_that_hang_are_bounded() {
    let hooks = [(HookKind::OnCrash, "hang"), (HookKind::PostStop, "hang")];
    let mut spec = hooked("serve port=8000 crash-after=10", 40, &hooks);
    spec.restart.max_restarts = 1000;
    let mut sim = Sim::begun(spec, 7);
    sim.until("some are left out", |sim| sim.warned("was left out") > 0);
    assert_eq!(sim.hooks.len(), 8);
    sim.ask(Request::Delete { fast: true });
    sim.until("the end", |sim| sim.exit.is_some());
}
