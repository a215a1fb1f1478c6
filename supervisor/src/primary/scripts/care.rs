//! Scenarios of workers that are frozen for a look, missed by their clients, or hung.

use std::sync::Arc;

use config::spec::Balance;
use ipc::control::WorkerStatus;

use super::*;
use crate::base::exit::Exit;
use crate::primary::worker::state::LAST;

#[test]
fn a_shared_socket_is_drained_under_load_without_a_cut() {
    for seed in 0..20 {
        let mut sim = Sim::begun(app("serve port=7000 busy=6", 2), seed);
        let up = sim.ask(Request::WaitReady);
        done(sim.answer(up));
        let listener = *sim.listeners.keys().next().expect("a listener");
        for request in [
            reload("serve port=7000 busy=6", 2),
            Request::Scale { wanted: 1, because: String::new(), pool: None },
        ] {
            let client = sim.ask(request);
            let mut turns = 0;
            while sim.clients[&client].answer.is_none() {
                sim.connect(listener);
                sim.pass(Duration::from_millis(3 + turns % 7));
                turns += 1;
                assert!(turns < 2000, "it never ends");
            }
            done(sim.answer(client));
        }
        assert_eq!(sim.told(NoticeKind::Warning), [""; 0]);
        assert_eq!(sim.cut, 0, "requests were cut");
        assert!(sim.fakes.values().all(|fake| fake.frozen.is_none()));
    }
}

#[test]
fn a_worker_that_nothing_ends_holds_nothing_up() {
    const COMMAND: &str = "serve port=8000 undying";
    let mut sim = up(app(COMMAND, 2));
    let begun = sim.now;
    let client = sim.ask(reload(GOOD, 2));
    sim.until("the kill", |sim| sim.primary.status(sim.now).workers.iter().any(is_killed));
    done(sim.answer(client));
    let took = sim.now.since(begun);
    assert!(took > LAST && took < LAST * 2 + Duration::from_secs(60), "{took:?}");
    let stopped = sim.told(NoticeKind::WorkerStopped);
    let lives_on = |message: &&&str| **message == "it was killed and has not ended 10s later";
    assert_eq!(stopped.iter().filter(lives_on).count(), 2, "{stopped:?}");
    assert_eq!(sim.app_status(), Status::Ready);
    // The primary cannot see what waits in their sockets, so a rescue worker serves it and leaves.
    sim.until("the end of the last rescue", |sim| sim.ids().len() == 2);

    // Nor does the end of the app wait for ever.
    let mut sim = up(app(COMMAND, 2));
    let client = sim.ask(Request::Stop { fast: false });
    done(sim.answer(client));
    assert_eq!(sim.app_status(), Status::Stopped);
}

fn is_killed(worker: &WorkerStatus) -> bool {
    worker.reason.as_deref() == Some("told to stop; killed by SIGKILL, and not ended yet")
}

#[test]
fn a_frozen_worker_goes_on_though_the_look_never_comes_back() {
    let mut sim = up(app("serve port=7000 no-looks", 1));
    let old = sim.ids()[0];
    let client = sim.ask(reload("serve port=7000", 1));
    sim.until("the freeze", |sim| sim.fakes[&old].frozen.is_some());
    sim.until("the thaw", |sim| sim.fakes[&old].frozen.is_none());
    assert!(!sim.fakes[&old].told);
    done(sim.answer(client));
}

fn sticky(command: &str, wait: Duration) -> AppSpec {
    let mut spec = app(command, 3);
    spec.balance = Balance::Sticky;
    spec.times.sticky_wait = wait;
    spec
}

impl Sim {
    /// The slots that get new connections.
    pub(super) fn steered(&self) -> Vec<u16> {
        let listener = self.listeners.values().next().expect("a listener");
        listener.steered.iter().map(|target| target.slot.0).collect()
    }
}

#[test]
fn sticky_clients_wait_for_the_next_worker_of_their_slot() {
    let mut sim = up(sticky(GOOD, Duration::from_secs(5)));
    let listener = *sim.listeners.keys().next().expect("a listener");
    let before = sim.listeners[&listener].steered.clone();
    let victim = sim.ids()[1];
    sim.murder(victim);
    assert_eq!(sim.app_status(), Status::Degraded);
    for _ in 0..30 {
        sim.connect(listener);
        assert_eq!(sim.listeners[&listener].steered, before, "a client was moved");
        sim.pass(Duration::from_millis(20));
    }
    assert_eq!(sim.app_status(), Status::Ready);
    assert_eq!(sim.listeners[&listener].steered, before);
    assert!(sim.listeners[&listener].queues.values().all(|waiting| *waiting == 0));
}

#[test]
fn sticky_clients_move_when_their_slot_stays_empty_for_too_long_or_is_given_up() {
    let mut spec = sticky("serve port=8000", Duration::from_secs(2));
    spec.restart.backoff_min = Duration::from_secs(60);
    spec.restart.backoff_max = Duration::from_secs(60);
    let mut sim = up(spec.clone());
    // So long a delay holds for the first restart, too.
    let seated = sim.primary.workers().find(|(_, slot, _)| slot.0 == 1);
    sim.murder(seated.expect("slot 1 has a worker").0);
    assert_eq!(sim.steered(), [0, 1, 2]);
    sim.pass(Duration::from_millis(1900));
    assert_eq!(sim.steered(), [0, 1, 2], "2 s are not over");
    sim.pass(Duration::from_millis(200));
    assert_eq!(sim.steered(), [0, 2], "2 s are over");
    sim.pass(Duration::from_secs(90));
    assert_eq!(sim.steered(), [0, 1, 2], "and back");

    spec.restart.on = RestartOn::Never;
    let mut sim = up(spec);
    let victim = sim.ids()[1];
    sim.murder(victim);
    assert_eq!(sim.steered(), [0, 2], "its slot is given up");
}

fn watched(command: &str) -> AppSpec {
    let mut spec = app(command, 2);
    spec.times.hang_timeout = Duration::from_secs(2);
    spec
}

#[test]
fn a_worker_that_takes_nothing_is_replaced_and_its_queue_is_served() {
    let mut sim = up(watched("serve port=8000 stuck"));
    let stuck = sim.ids()[0];
    let better = watched("serve port=8000");
    sim.primary.serving.spec = Arc::new(better.clone());
    for state in sim.primary.slots.values_mut() {
        state.plan.spec = Arc::new(better.clone());
    }
    let listener = *sim.listeners.keys().next().expect("a listener");
    for _ in 0..8 {
        sim.connect(listener);
    }
    sim.pass(Duration::from_millis(1900));
    assert!(sim.ids().contains(&stuck), "2 s are not over");
    sim.pass(Duration::from_millis(1500));
    assert!(!sim.ids().contains(&stuck), "it hung");
    assert!(sim.listeners[&listener].queues.values().all(|waiting| *waiting == 0));
    assert_eq!(sim.app_status(), Status::Ready);
    let failures = sim.told(NoticeKind::WorkerFailed);
    assert!(failures.iter().all(|message| message.contains("hung: it has taken no connection")));
    assert!(!failures.is_empty());
}

#[test]
fn a_worker_that_moves_or_is_idle_is_not_hung() {
    let mut sim = up(watched("serve port=8000"));
    let before: Vec<_> = sim.ids().into_iter().collect();
    sim.pass(Duration::from_secs(20));
    let listener = *sim.listeners.keys().next().expect("a listener");
    for _ in 0..400 {
        sim.connect(listener);
        sim.pass(Duration::from_millis(25));
    }
    assert_eq!(sim.ids().into_iter().collect::<Vec<_>>(), before);
}

#[test]
fn a_primary_in_the_foreground_ends_with_its_workers() {
    for (command, on, code) in [
        ("serve port=8000 crash-after=50", RestartOn::Always, 1),
        ("serve port=8000 crash-after=50", RestartOn::Never, 1),
        ("serve port=8000 clean=50", RestartOn::Failure, 0),
    ] {
        let mut spec = app(command, 2);
        spec.restart.on = on;
        spec.restart.max_restarts = 3;
        let mut sim = Sim::new(spec, 1);
        sim.primary.ends_with_workers = true;
        sim.begin();
        sim.until("the end", |sim| sim.exit.is_some());
        assert_eq!(sim.exit, Some(code), "{command}");
    }
}

#[test]
fn a_listener_whose_workers_are_all_dead_for_a_moment_stays_open() {
    let mut spec = app("serve port=8000", 2);
    spec.restart.backoff_min = Duration::from_secs(3);
    let mut sim = up(spec);
    // During the delay of the restarts comes the time to close listeners that no worker serves.
    sim.pass(Duration::from_secs(3));
    for _ in 0..2 {
        for worker in sim.ids() {
            sim.murder(worker);
        }
        sim.pass(Duration::from_millis(700));
    }
    assert_eq!(sim.primary.workers().count(), 0, "the backoff");
    sim.pass(Duration::from_secs(10));
    assert_eq!(sim.app_status(), Status::Ready);
    assert_eq!(sim.told(NoticeKind::ListenerClosed), [""; 0]);
}

#[test]
fn a_hung_worker_is_killed_and_replaced() {
    let mut sim = up(app("serve port=8000 hung=1000", 1));
    sim.until("a failure", |sim| !sim.told(NoticeKind::WorkerFailed).is_empty());
    assert_eq!(sim.told(NoticeKind::WorkerFailed), ["watchdog triggered"]);
    sim.until("the restart", |sim| sim.app_status() == Status::Ready);
}

#[test]
fn the_rest_of_a_worker_that_died_is_gone_before_it_is_replaced() {
    let mut sim = up(app("serve port=8000 children=60000", 1));
    let old = sim.ids()[0];
    let died = sim.now;
    sim.die(old, Exit::Code(1));
    assert!(sim.ids().contains(&old), "its group lives");
    sim.until("the replacement", |sim| sim.ids().iter().any(|id| *id != old));
    assert!(sim.now.since(died) < Duration::from_secs(30), "the rest was not killed");
}

#[test]
fn the_rest_of_a_worker_that_was_told_to_stop_may_finish() {
    let mut sim = up(app("serve port=8000 children=700", 1));
    let old = sim.ids()[0];
    let client = sim.ask(reload("serve port=8000", 1));
    sim.until("the stop signal", |sim| sim.fakes[&old].told);
    let told = sim.now;
    sim.until("the end", |sim| !sim.ids().contains(&old));
    assert!(sim.now.since(told) >= Duration::from_millis(700), "the rest was cut off");
    done(sim.answer(client));
}
