//! Scenarios of what makes a worker ready, and what a reload may call success.

use super::*;

#[test]
fn a_word_of_the_program_does_not_stand_for_an_address() {
    let mut sim = up(app("serve port=8000 ready=300", 2));
    let (kind, reason, _) = sim.refuses(reload("serve port=9001 ready=300", 2));
    assert_eq!(kind, FailureKind::RolledBack);
    assert!(reason.contains("it does not listen on 127.0.0.1:8000"), "{reason}");
}

#[test]
fn no_rule_of_readiness_gives_an_address_up() {
    for rule in [ReadyRule::Auto, ReadyRule::Notify, ReadyRule::Listen, ReadyRule::Uptime] {
        let spec = |command| {
            let mut spec = app(command, 2);
            spec.ready = rule;
            spec
        };
        let mut sim = up(spec("serve port=8000 ready=300"));
        let bad = spec("serve port=9001 ready=300");
        let (kind, ..) = sim.refuses(Request::Reload { spec: Some(Box::new(bad)), pool: None });
        assert_eq!(kind, FailureKind::RolledBack, "{rule:?}");
        let good = spec("serve port=8000 ready=300");
        let client = sim.ask(Request::Reload { spec: Some(Box::new(good)), pool: None });
        done(sim.answer(client));
    }
}

/// gunicorn and HAProxy ask whether their socket listens, and do not call `listen` then.
#[test]
fn a_program_that_finds_its_socket_listening_becomes_ready() {
    for command in ["serve port=8000 asks", "serve port=8000 asks ready=400"] {
        let mut sim = up(app(command, 2));
        for _ in 0..3 {
            let client = sim.ask(reload(command, 2));
            done(sim.answer(client));
            let targets = sim.listeners.values().next().expect("a listener").steered.len();
            assert_eq!(targets, 2, "both serve");
        }
        assert!(sim.told(NoticeKind::WorkerReady).iter().all(|told| told.ends_with(":8000")));
    }
}

/// It imports for a while after it listens, and then dies: after it took over, and after the next
/// slot was replaced, too.
#[test]
fn a_reload_is_turned_round_while_its_canary_is_observed() {
    for after in [900, 1500, 2800] {
        let mut sim = up(app(GOOD, 2));
        let client = sim.ask(reload(&format!("serve port=8000 crash-after={after}"), 2));
        let (kind, reason, _) = failed(sim.answer(client));
        assert_eq!(kind, FailureKind::RolledBack, "{after}");
        assert!(reason.ends_with("slot 0: exit code 1"), "{after}: {reason}");
        assert_eq!(sim.generations(), [1, 1], "{after}");
        assert_eq!(sim.app_status(), Status::Ready);
    }
}

#[test]
fn what_took_long_to_become_ready_is_watched_for_as_long() {
    let slow = "serve port=8000 ready=6000";
    let spec = |command| {
        let mut spec = app(command, 2);
        spec.ready = ReadyRule::Notify;
        Some(Box::new(spec))
    };
    let mut sim = up(*spec(slow).expect("a spec"));
    let began = sim.now;
    let client = sim.ask(Request::Reload { spec: spec(slow), pool: None });
    sim.until("the canary takes over", |sim| !sim.told(NoticeKind::SlotReplaced).is_empty());
    let after = sim.now.since(began);
    assert!(after >= Duration::from_secs(12), "{after:?}");
    done(sim.answer(client));
    // The second worker is not watched a second time.
    let took = sim.now.since(began);
    assert!(took < Duration::from_secs(20), "{took:?}");
}
