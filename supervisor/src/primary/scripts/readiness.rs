//! Scenarios of what makes a worker ready, and what a reload may call success.

use super::super::event::{Cue, Event};
use super::*;
use crate::base::ids::ListenerId;

#[test]
fn a_word_of_the_program_does_not_stand_for_an_address() {
    let mut sim = up(app("serve port=8000 ready=300", 2));
    let (kind, reason, _) = sim.refuses(reload("serve port=9001 ready=300", 2));
    assert_eq!(kind, FailureKind::RolledBack);
    assert!(reason.contains("it does not listen on 127.0.0.1:8000"), "{reason}");
}

/// A program opens its addresses one after the other. The client that waits for the start may
/// connect to any of them.
#[test]
fn a_start_is_answered_when_no_further_address_is_opened() {
    let mut sim = Sim::begun(app("serve port=8000", 1), 7);
    let client = sim.ask(Request::WaitReady);
    sim.until("the worker is ready", |sim| sim.app_status() == Status::Ready);
    let worker = sim.ids()[0];
    for port in 8001..8020 {
        sim.bind(worker, port);
        sim.pass(Duration::from_millis(9));
    }
    let last = sim.now;
    let said = done(sim.answer(client));
    assert!(said.contains("127.0.0.1:8000") && said.contains("127.0.0.1:8019"), "{said}");
    assert!(sim.now.since(last) < Duration::from_millis(100), "{:?}", sim.now.since(last));
    // A client that asks later is answered at once.
    let (asked, client) = (sim.now, sim.ask(Request::WaitReady));
    done(sim.answer(client));
    assert_eq!(sim.now, asked);
}

/// On a machine that gets busier the time between two addresses grows faster than the program ages.
#[test]
fn a_start_waits_for_addresses_that_come_more_and_more_slowly() {
    let mut sim = Sim::begun(app("serve port=8000", 1), 7);
    let client = sim.ask(Request::WaitReady);
    sim.until("the worker is ready", |sim| sim.app_status() == Status::Ready);
    let worker = sim.ids()[0];
    for (port, gap) in (8001..).zip([9, 17, 32, 60, 110, 200, 380, 0]) {
        sim.bind(worker, port);
        sim.pass(Duration::from_millis(gap));
    }
    let said = done(sim.answer(client));
    assert!(said.contains("127.0.0.1:8008"), "{said}");
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

/// A worker binds another address of its own: an inspector, a passive port.
fn binds(sim: &mut Sim, slot: u16, port: u16) -> (WorkerId, ListenerId, SocketId) {
    let worker = sim.primary.workers().find(|(_, of, _)| of.0 == slot).expect("it is there").0;
    sim.bind(worker, port);
    let address = format!("127.0.0.1:{port}");
    let listens = |sim: &Sim| {
        let listener = sim.listener_at(&address)?;
        let place = sim.fakes[&worker].holds.iter().find(|(on, _)| *on == listener)?;
        sim.listeners[&listener].listening.contains(&place.1).then_some(*place)
    };
    sim.until("it listens", |sim| listens(sim).is_some());
    let (listener, socket) = listens(sim).expect("it does");
    (worker, listener, socket)
}

#[test]
fn an_address_bound_late_by_one_worker_is_not_asked_of_its_successor() {
    for workers in [1, 2] {
        let mut sim = up(app(GOOD, workers));
        sim.pass(Duration::from_secs(10));
        binds(&mut sim, 0, 9229);
        let client = sim.ask(reload(GOOD, workers));
        done(sim.answer(client));
        let told = sim.told(NoticeKind::Warning);
        assert!(told.iter().any(|it| it.contains("need not listen on 127.0.0.1:9229")), "{told:?}");
    }
}

#[test]
fn an_address_bound_late_by_all_workers_is_asked_for() {
    let mut sim = up(app(GOOD, 2));
    sim.pass(Duration::from_secs(10));
    for slot in [0, 1] {
        binds(&mut sim, slot, 9001);
    }
    let (_, reason, _) = sim.refuses(reload(GOOD, 2));
    assert!(reason.contains("it does not listen on 127.0.0.1:9001"), "{reason}");
}

#[test]
fn an_address_bound_at_the_start_by_one_worker_is_asked_of_its_successor() {
    let mut sim = up(app(GOOD, 2));
    binds(&mut sim, 1, 9001);
    let client = sim.ask(reload(GOOD, 2));
    let (kind, reason, _) = failed(sim.answer(client));
    assert_eq!(kind, FailureKind::RolledBack);
    assert!(reason.contains("it does not listen on 127.0.0.1:9001"), "{reason}");
}

#[test]
fn after_a_crash_nobody_waits_for_an_address_that_was_bound_late() {
    let mut sim = up(app(GOOD, 2));
    sim.pass(Duration::from_secs(10));
    let (worker, ..) = binds(&mut sim, 0, 9229);
    binds(&mut sim, 1, 9229);
    sim.murder(worker);
    sim.until("the slot is served", |sim| sim.app_status() == Status::Ready);
    assert_eq!(sim.told(NoticeKind::WorkerFailed).len(), 1);
}

#[test]
fn an_address_that_was_closed_is_not_asked_for() {
    let mut sim = up(app(GOOD, 1));
    let (worker, listener, socket) = binds(&mut sim, 0, 9001);
    sim.feed(Event::Worker { worker, cue: Cue::Closed { listener, socket } });
    let client = sim.ask(reload(GOOD, 1));
    done(sim.answer(client));
}

#[test]
fn serve_says_where_a_worker_must_listen_from_the_first_on() {
    let spec = |command, serve: &str| {
        let mut spec = app(command, 2);
        spec.serve = vec![serve.parse().expect("an address")];
        spec
    };
    let mut sim = Sim::begun(spec(GOOD, ":9001"), 7);
    let client = sim.ask(Request::WaitReady);
    let (_, reason, _) = failed(sim.answer(client));
    assert!(reason.contains(":9001, which \"serve\" names"), "{reason}");

    // What the predecessor served is not asked for then.
    let mut sim = up(spec("serve port=8000 port=9001", ":8000"));
    let good = Some(Box::new(spec(GOOD, ":8000")));
    let client = sim.ask(Request::Reload { spec: good, pool: None });
    done(sim.answer(client));
}

#[test]
fn a_job_that_has_done_its_work_is_no_failure() {
    for restart in [RestartOn::Failure, RestartOn::Never] {
        let spec = |command: &str| {
            let mut spec = app(command, 2);
            spec.restart.on = restart;
            spec
        };
        let mut sim = Sim::begun(spec("serve ends=300"), 7);
        let client = sim.ask(Request::WaitReady);
        assert_eq!(done(sim.answer(client)), "web: done: 2 of 2 workers ended with exit code 0");
        assert_eq!(sim.app_status(), Status::Stopped);

        // A server that was expected to listen has failed.
        let mut waits = spec("serve ends=300");
        waits.ready = ReadyRule::Listen;
        let mut sim = Sim::begun(waits, 7);
        let client = sim.ask(Request::WaitReady);
        let (_, reason, _) = failed(sim.answer(client));
        assert!(reason.ends_with("ended by itself: exit code 0"), "{reason}");
    }
}
