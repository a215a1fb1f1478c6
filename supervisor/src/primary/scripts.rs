//! Scenarios, each seen from outside: the requests, what the programs do, and the answers.

mod autoscale;
mod blue_green;
mod care;
mod closing;
mod file_changes;
mod hooks;
mod kept;
mod merge;
mod one_worker;
mod own_tcp;
mod own_unix;
mod pools;
mod probes;
mod quiet;
mod readiness;
mod recycle;
mod rollout;
mod snapshot;
mod values;

use std::time::Duration;

use config::spec::{AppSpec, Graceful, ReadyRule, RestartOn};
use ipc::control::{FailureKind, NoticeKind, Reply, Request, Status, WorkerState};

use super::event::PrimarySignal;
use super::sim::{Sim, app, listening};
use crate::base::ids::{ClientId, SocketId, WorkerId};

const GOOD: &str = "serve port=8000";

/// An app that is up.
fn up(spec: AppSpec) -> Sim {
    let mut sim = Sim::begun(spec, 7);
    let client = sim.ask(Request::WaitReady);
    let reply = sim.answer(client);
    assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
    sim
}

fn reload(command: &str, wanted: u16) -> Request {
    Request::Reload { spec: Some(Box::new(app(command, wanted))), pool: None }
}

fn done(reply: Reply) -> String {
    let Reply::Done { message, .. } = reply else { panic!("not done: {reply:?}") };
    message
}

fn failed(reply: Reply) -> (FailureKind, String, Vec<String>) {
    let Reply::Failed { kind, reason, last_lines } = reply else { panic!("not failed: {reply:?}") };
    (kind, reason, last_lines)
}

impl Sim {
    fn ids(&self) -> Vec<WorkerId> {
        self.primary.workers().map(|(id, _, _)| id).collect()
    }

    fn generations(&self) -> Vec<u32> {
        self.primary.workers().map(|(_, _, generation)| generation.0).collect()
    }

    fn told(&self, event: NoticeKind) -> Vec<&str> {
        let of_kind = self.notices.iter().filter(|notice| notice.event == event);
        of_kind.map(|notice| notice.message.as_str()).collect()
    }

    fn has_answered(&self, client: ClientId) -> bool {
        self.clients[&client].answer.is_some()
    }

    fn app_status(&self) -> Status {
        self.primary.status(self.now).status
    }

    /// A refused reload: the workers that served before still serve.
    fn refuses(&mut self, request: Request) -> (FailureKind, String, Vec<String>) {
        let before = self.ids();
        let client = self.ask(request);
        let answer = failed(self.answer(client));
        assert_eq!(self.ids(), before, "other workers serve");
        assert_eq!(self.app_status(), Status::Ready);
        answer
    }
}

#[test]
fn a_start_answers_with_the_workers_and_addresses() {
    let mut sim = Sim::begun(app(GOOD, 2), 7);
    let client = sim.ask(Request::WaitReady);
    assert_eq!(done(sim.answer(client)), "web: 2 workers ready on 127.0.0.1:8000");
    let status = sim.primary.status(sim.now);
    assert_eq!((status.status, status.ready, status.generation), (Status::Ready, 2, 1));
    assert_eq!(status.listeners[0].slots, [0, 1]);
    assert_eq!(status.workers[1].state, WorkerState::Ready);
}

#[test]
fn a_reload_replaces_one_slot_after_the_other() {
    let mut sim = up(app(GOOD, 3));
    let began = sim.now;
    let client = sim.ask(reload(GOOD, 3));
    let answer = done(sim.answer(client));
    assert!(answer.starts_with("web: generation 2 serves; 3 workers replaced in "), "{answer}");
    assert_eq!(sim.generations(), [2, 2, 2]);
    assert_eq!(sim.told(NoticeKind::SlotReplaced).len(), 3);
    assert!(sim.now.since(began) >= Duration::from_secs(1), "the canary was not watched");
    assert_eq!(sim.primary.status(sim.now).last_reload, Some(answer));
}

#[test]
fn a_canary_that_crashes_changes_nothing() {
    let mut sim = up(app(GOOD, 2));
    let (kind, reason, last_lines) = sim.refuses(reload("serve port=8000 crash-after=200", 2));
    assert_eq!(kind, FailureKind::RolledBack);
    let expected = "web: generation 2 was rolled back, generation 1 serves: slot 0: exit code 1";
    assert_eq!(reason, expected);
    assert_eq!(last_lines, ["last words of 3"]);
    assert!(sim.told(NoticeKind::SlotReplaced).is_empty());
}

#[test]
fn a_successor_that_never_listens_changes_nothing() {
    let mut sim = up(app(GOOD, 2));
    let (kind, reason, _) = sim.refuses(reload("serve hang", 2));
    assert_eq!(kind, FailureKind::RolledBack);
    let why = "not ready within 30s: it does not listen on 127.0.0.1:8000, which the previous \
               generation serves (it listens on nothing)";
    assert!(reason.ends_with(why), "{reason}");
}

#[test]
fn a_successor_on_another_port_changes_nothing_and_its_port_is_closed() {
    let mut sim = up(app(GOOD, 2));
    let (kind, reason, _) = sim.refuses(reload("serve port=9001", 2));
    assert_eq!(kind, FailureKind::RolledBack);
    assert!(reason.ends_with("(it listens on 127.0.0.1:9001)"), "{reason}");
    assert_eq!(sim.told(NoticeKind::ListenerClosed), ["no longer listens on 127.0.0.1:9001"]);
    assert_eq!(sim.listeners.len(), 1);
}

#[test]
fn a_successor_that_cannot_be_started_changes_nothing() {
    let mut sim = up(app(GOOD, 2));
    let (kind, reason, _) = sim.refuses(reload("serve missing", 2));
    assert_eq!(kind, FailureKind::RolledBack);
    assert!(reason.ends_with("slot 0: cannot run it"), "{reason}");
}

#[test]
fn slots_that_were_replaced_already_are_rolled_back() {
    let mut sim = up(app(GOOD, 3));
    let client = sim.ask(reload("serve port=8000 crash-after=1100", 3));
    let (kind, reason, _) = failed(sim.answer(client));
    assert_eq!(kind, FailureKind::RolledBack);
    assert!(!sim.told(NoticeKind::SlotReplaced).is_empty(), "{reason}");
    assert_eq!(sim.generations(), [1, 1, 1]);
    assert_eq!(sim.primary.spec().command, ["serve", "port=8000"]);
    assert_eq!(sim.app_status(), Status::Ready);
}

#[test]
fn the_old_worker_comes_back_while_it_drains() {
    let mut sim = up(app("serve port=8000 no-looks", 1));
    let old = sim.ids();
    let client = sim.ask(reload(GOOD, 1));
    sim.until("the commit", |sim| !sim.told(NoticeKind::SlotReplaced).is_empty());
    let new = sim.ids()[1];
    sim.murder(new);
    let (kind, _, _) = failed(sim.answer(client));
    assert_eq!(kind, FailureKind::RolledBack);
    assert_eq!(sim.app_status(), Status::Ready);
    // A rescue serves the connections that came to the new worker meanwhile.
    assert_eq!(sim.ids().len(), 2);
    sim.until("the end of the rescue", |sim| sim.ids() == old);
}

#[test]
fn a_crash_loop_is_answered_at_once_and_tried_again_later() {
    let mut sim = Sim::begun(app("serve crash", 1), 7);
    let client = sim.ask(Request::WaitReady);
    let (_, reason, last_lines) = failed(sim.answer(client));
    let why = "slot 0: 3 failures in a row, tried again about every 15s: exit code 1";
    assert_eq!(reason, format!("web: 0 of 1 workers ready; {why}"));
    assert_eq!(last_lines, ["last words of 3"]);
    assert_eq!(sim.app_status(), Status::Errored);
    let errored = |sim: &Sim| sim.told(NoticeKind::SlotErrored).len();
    for times in 2..5 {
        let begun = sim.now;
        sim.until("the next failure", |sim| errored(sim) == times);
        let pause = sim.now.since(begun).as_secs();
        assert!((11..=19).contains(&pause), "{pause} s");
    }
    let spec = Some(Box::new(app(GOOD, 1)));
    let client = sim.ask(Request::Restart { hard: false, spec });
    assert_eq!(done(sim.answer(client)), "web: 1 worker ready on 127.0.0.1:8000");
}

#[test]
fn a_crash_loop_that_is_given_up_sleeps_and_restart_revives_it() {
    let mut spec = app("serve crash", 1);
    spec.restart.give_up = true;
    let mut sim = Sim::begun(spec, 7);
    let client = sim.ask(Request::WaitReady);
    let (kind, reason, last_lines) = failed(sim.answer(client));
    assert_eq!(kind, FailureKind::Failed);
    let why = "slot 0: gave up after 3 failures in a row: exit code 1";
    assert_eq!(reason, format!("web: 0 of 1 workers ready; {why}"));
    assert_eq!(last_lines, ["last words of 3"]);
    assert_eq!(sim.app_status(), Status::Errored);
    assert_eq!(sim.primary.deadline(), None, "an errored app sleeps");

    let spec = Some(Box::new(app(GOOD, 1)));
    let client = sim.ask(Request::Restart { hard: false, spec });
    assert_eq!(done(sim.answer(client)), "web: 1 worker ready on 127.0.0.1:8000");
    assert_eq!(sim.generations(), [2]);
}

#[test]
fn a_first_start_that_cannot_succeed_leaves_nothing_behind() {
    for (command, why) in [
        ("serve missing", "web cannot start: cannot run it"),
        (
            "serve port=8000 refused",
            "web cannot start: exit code 98; it could not have 127.0.0.1:8000: address in use",
        ),
    ] {
        let mut sim = Sim::begun(app(command, 2), 7);
        let client = sim.ask(Request::WaitReady);
        assert_eq!(failed(sim.answer(client)).1, why);
        sim.until("the exit", |sim| sim.exit == Some(1));
    }
}

#[test]
fn a_taken_configured_address_fails_the_start_even_before_a_client_asks() {
    let mut sim = Sim::new(listening(app("serve", 2), 8000), 7);
    sim.taken.push("127.0.0.1:8000".to_owned());
    sim.begin();
    sim.pass(Duration::from_secs(1));
    let client = sim.ask(Request::WaitReady);
    let why = "web cannot start: cannot listen on 127.0.0.1:8000: address in use";
    assert_eq!(failed(sim.answer(client)).1, why);
    assert_eq!(sim.exit, Some(1));
}

#[test]
fn configured_listeners_are_lent_and_make_it_ready_by_living() {
    let mut sim = up(listening(app("serve", 2), 8000));
    assert!(sim.now.since(sim.born()) >= Duration::from_secs(1));
    let status = sim.primary.status(sim.now);
    assert!(status.listeners[0].configured);
    assert_eq!(status.listeners[0].slots, [0, 1]);
    let spec = listening(app("serve", 2), 8000);
    let client = sim.ask(Request::Reload { spec: Some(Box::new(spec)), pool: None });
    done(sim.answer(client));
    assert_eq!(sim.generations(), [2, 2]);
}

#[test]
fn a_reload_that_adds_a_taken_address_changes_nothing() {
    let mut sim = up(app(GOOD, 1));
    sim.taken.push("127.0.0.1:8005".to_owned());
    let spec = Some(Box::new(listening(app(GOOD, 1), 8005)));
    let (kind, reason, _) = sim.refuses(Request::Reload { spec, pool: None });
    assert_eq!(kind, FailureKind::Failed);
    assert!(reason.starts_with("web: nothing changed, generation 1 serves: "), "{reason}");
}

#[test]
fn scaling_up_down_and_up_again() {
    let mut sim = up(app(GOOD, 2));
    for (wanted, ready) in [(4, 4), (1, 1), (3, 3)] {
        let client = sim.ask(Request::Scale { wanted, because: String::new(), pool: None });
        let answer = done(sim.answer(client));
        assert!(answer.starts_with("web: "), "{answer}");
        assert_eq!(sim.primary.status(sim.now).ready, ready);
        assert_eq!(sim.primary.spec().wanted, wanted);
    }
    let client = sim.ask(Request::Scale { wanted: 0, because: String::new(), pool: None });
    assert_eq!(failed(sim.answer(client)).0, FailureKind::Usage);
    sim.signal(PrimarySignal::More);
    sim.until("one more", |sim| sim.ids().len() == 4);
}

#[test]
fn a_reload_scales_along() {
    let mut sim = up(app(GOOD, 2));
    for wanted in [4, 1] {
        let client = sim.ask(reload(GOOD, wanted));
        done(sim.answer(client));
        assert_eq!(sim.ids().len(), usize::from(wanted));
    }
    assert_eq!(sim.generations(), [3]);
}

#[test]
fn a_stop_drains_and_frees_the_ports_and_start_begins_again() {
    let mut sim = up(app("serve port=8000 busy=700", 2));
    let listener = *sim.listeners.keys().next().expect("a listener");
    sim.connect(listener);
    sim.pass(Duration::from_millis(20));
    let (began, client) = (sim.now, sim.ask(Request::Stop { fast: false }));
    assert_eq!(done(sim.answer(client)), "web is stopped");
    assert!(sim.now.since(began) >= Duration::from_millis(650), "a request was cut");
    assert!(sim.listeners.is_empty());
    assert_eq!(sim.app_status(), Status::Stopped);
    let client = sim.ask(Request::Stop { fast: false });
    assert_eq!(done(sim.answer(client)), "web is stopped already");
    let client = sim.ask(Request::Start);
    done(sim.answer(client));
    let client = sim.ask(Request::Start);
    let advice = "web is running already (2 of 2 workers ready); use reload or restart";
    assert_eq!(failed(sim.answer(client)), (FailureKind::Usage, advice.to_owned(), vec![]));
}

#[test]
fn a_fast_stop_waits_for_no_request() {
    let mut sim = up(app("serve port=8000 deaf busy=60000", 2));
    let (began, client) = (sim.now, sim.ask(Request::Stop { fast: true }));
    done(sim.answer(client));
    assert!(sim.now.since(began) < Duration::from_millis(2100));
}

#[test]
fn a_second_signal_makes_a_stop_fast_and_the_primary_ends() {
    let mut sim = up(app("serve port=8000 deaf no-looks", 2));
    let began = sim.now;
    sim.signal(PrimarySignal::Stop);
    sim.pass(Duration::from_millis(500));
    sim.signal(PrimarySignal::Stop);
    sim.until("the exit", |sim| sim.exit == Some(0));
    assert!(sim.now.since(began) < Duration::from_secs(3));
}

#[test]
fn a_successor_serves_what_waits_for_a_dead_worker() {
    let mut sim = up(app(GOOD, 1));
    let first = sim.ids()[0];
    sim.leave_waiting(first);
    sim.murder(first);
    sim.until("the restart", |sim| sim.app_status() == Status::Ready && sim.ids() != [first]);
    sim.pass(Duration::from_secs(1));
    let listener = sim.listeners.values().next().expect("a listener");
    assert_eq!(listener.queues[&SocketId(0)], 0);
    assert_eq!(sim.primary.status(sim.now).restarts, 1);
}

#[test]
fn a_rescue_serves_what_a_dismissed_worker_leaves_waiting() {
    let mut sim = up(app("serve port=8000 dies-draining", 2));
    let client = sim.ask(Request::Scale { wanted: 1, because: String::new(), pool: None });
    done(sim.answer(client));
    assert_eq!(sim.ids().len(), 2, "no rescue was started");
    sim.until("the rescue", |sim| sim.ids().len() == 1);
    let listener = sim.listeners.values().next().expect("a listener");
    assert!(listener.queues.values().all(|waiting| *waiting == 0));
    assert_eq!(sim.told(NoticeKind::Warning), [""; 0]);
}

#[test]
fn a_drain_that_takes_too_long_is_cut_and_says_so() {
    let mut sim = up(app("serve port=8000 busy=90000", 1));
    let listener = *sim.listeners.keys().next().expect("a listener");
    sim.connect(listener);
    sim.pass(Duration::from_millis(20));
    let client = sim.ask(reload(GOOD, 1));
    done(sim.answer(client));
    let cut = "drain timeout after 30s: 1 connection with a request in flight is cut";
    assert_eq!(sim.told(NoticeKind::Warning), [cut]);
}

#[test]
fn reloads_that_wait_become_one_and_the_newest_spec_wins() {
    let mut sim = up(app(GOOD, 2));
    let first = sim.ask(reload(GOOD, 2));
    let second = sim.ask(reload("serve port=9001", 2));
    let third = sim.ask(reload("serve port=8000 port=8001", 2));
    let plain = sim.ask(Request::Reload { spec: None, pool: None });
    assert!(done(sim.answer(first)).contains("generation 2 serves"));
    for client in [second, third, plain] {
        assert!(done(sim.answer(client)).contains("generation 3 serves"));
    }
    assert_eq!(sim.primary.spec().command, ["serve", "port=8000", "port=8001"]);
}

#[test]
fn a_stop_aborts_a_reload_and_the_waiting_requests() {
    let mut sim = up(app(GOOD, 2));
    let running = sim.ask(reload(GOOD, 2));
    let waiting = sim.ask(Request::Scale { wanted: 5, because: String::new(), pool: None });
    let stop = sim.ask(Request::Stop { fast: false });
    done(sim.answer(stop));
    for client in [running, waiting] {
        let (kind, reason, _) = failed(sim.answer(client));
        assert_eq!(kind, FailureKind::Failed);
        assert_eq!(reason, "web was stopped before this could finish");
    }
}

#[test]
fn a_hard_restart_may_move_the_port() {
    let mut sim = up(app(GOOD, 2));
    let spec = Some(Box::new(app("serve port=9001", 2)));
    let client = sim.ask(Request::Restart { hard: true, spec });
    assert_eq!(done(sim.answer(client)), "web: 2 workers restarted as generation 2");
    sim.pass(Duration::from_secs(10));
    let addresses: Vec<_> = sim.listeners.values().map(|l| l.address.clone()).collect();
    assert_eq!(addresses, ["127.0.0.1:9001"]);
}

#[test]
fn a_clean_end_that_is_not_restarted_is_a_stop() {
    let mut spec = app("serve port=8000 clean=1000", 1);
    spec.restart.on = RestartOn::Failure;
    let mut sim = up(spec);
    sim.until("the end", |sim| sim.app_status() == Status::Stopped);
    let status = sim.primary.status(sim.now);
    assert_eq!(status.reason.as_deref(), Some("slot 0: ended by itself: exit code 0"));
    assert_eq!(status.workers[0].state, WorkerState::Stopped);
    assert_eq!(status.workers[0].last_exit.as_deref(), Some("exit code 0"));
}

#[test]
fn an_exit_code_of_the_list_is_a_stop_and_another_one_a_failure() {
    // The program ends with code 1.
    for (codes, stops) in [([1, 42], true), ([0, 2], false)] {
        for on in [RestartOn::Always, RestartOn::Failure, RestartOn::Never] {
            let mut spec = app("serve port=8000 crash-after=1000", 1);
            spec.restart.on = on;
            spec.restart.stop_exit_codes = codes.into_iter().collect();
            let mut sim = up(spec);
            sim.pass(Duration::from_secs(3));
            assert_eq!(sim.app_status() == Status::Stopped, stops, "{codes:?} {on:?}");
        }
    }
}

#[test]
fn a_worker_can_announce_and_delay_its_readiness() {
    let mut spec = app("serve port=8000 ready=1500 extend=900", 1);
    spec.ready = ReadyRule::Notify;
    spec.times.ready_timeout = Duration::from_secs(1);
    let sim = up(spec);
    assert!(sim.now.since(sim.born()) >= Duration::from_millis(1500));
    assert!(sim.told(NoticeKind::WorkerFailed).is_empty());
}
