//! Scenarios of a primary that dies and comes back, and of snapshots that other builds wrote.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::base::ids::{ClientId, ListenerId, Slot, Ticket};
use crate::base::time::Time;
use crate::primary::Primary;
use crate::primary::action::{Action, Target};
use crate::primary::event::{Cue, Event, OpenedListener};
use crate::primary::resume::Facts;
use crate::primary::scripts::*;
use crate::primary::snapshot::RestoreError;

/// Three workers: the running reload replaced the first, which is draining; the second has just
/// died and is being started again. A scaling request waits, and a client has just been answered.
const GOLDEN: &str = include_str!("../golden/core-1.json");

/// The time at which the golden snapshot was written.
const WRITTEN: Time = Time(2_358_231_000);

fn golden() -> Value {
    serde_json::from_str(GOLDEN).expect("JSON")
}

fn restored(state: &Value) -> Primary {
    Primary::restore(&state.to_string()).expect("a valid snapshot")
}

fn successor(core: &Primary) -> Primary {
    Primary::restore(core.snapshot().expect("the core can be written").get())
        .expect("its own snapshot is valid")
}

fn refusal(state: &Value) -> String {
    Primary::restore(&state.to_string()).expect_err("an invalid snapshot").to_string()
}

/// The first actions of a core that comes back.
fn comes_back(core: &mut Primary, facts: Facts) -> Vec<Action> {
    let now = WRITTEN + Duration::from_millis(700);
    let mut actions = Vec::new();
    core.resume(now, facts, &mut actions);
    core.step(now, Event::Turn, &mut actions);
    let silent = |action: &Action| !matches!(action, Action::Publish(_));
    actions.into_iter().filter(silent).collect()
}

fn workers(ids: impl IntoIterator<Item = u64>) -> BTreeSet<WorkerId> {
    ids.into_iter().map(WorkerId).collect()
}

fn signal(action: &Action) -> Option<(u64, i32)> {
    if let Action::Stop { worker } = action {
        return Some((worker.0, 15));
    }
    if let Action::Signal { worker, signal, .. } = action {
        Some((worker.0, *signal))
    } else {
        None
    }
}

#[test]
fn the_golden_snapshot_keeps_its_meaning() {
    let core = restored(&golden());
    let status = core.status(WRITTEN);
    assert_eq!((status.status, status.wanted, status.ready), (Status::Reloading, 3, 2));
    let seen = |w: &ipc::control::WorkerStatus| (w.slot, w.generation, w.state.word());
    let expected = [(0, 1, "draining"), (0, 2, "ready"), (1, 1, "spawning"), (2, 1, "ready")];
    assert_eq!(status.workers.iter().map(seen).collect::<Vec<_>>(), expected);
    let slots: Vec<&[u16]> = status.listeners.iter().map(|l| l.slots.as_slice()).collect();
    assert_eq!(slots, [&[2][..], &[0, 2], &[0]]);
    assert_eq!(status.workers[2].last_exit.as_deref(), Some("signal SIGKILL"));
    assert_eq!(core.spec().env["GREETING"], "hello");
    // Fields that were added since then have their defaults.
    let now = serde_json::from_str::<Value>(core.snapshot().expect("text").get()).expect("JSON");
    contains("", &now, &golden());
}

/// Checks that `whole` contains everything in `part`.
fn contains(path: &str, whole: &Value, part: &Value) {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            for (key, value) in part {
                let path = format!("{path}/{key}");
                contains(&path, whole.get(key).unwrap_or(&Value::Null), value);
            }
        }
        (whole, part) => assert_eq!(whole, part, "{path}"),
    }
}

#[test]
fn a_core_goes_on_from_the_golden_snapshot() {
    let mut core = restored(&golden());
    assert_eq!(core.awaited(), [1, 2, 3].map(ClientId).into());
    let (clients, carried_out) = ([1, 3].map(ClientId).into(), false);
    let facts = Facts { workers: workers([1, 3, 4]), clients, carried_out, ..Facts::default() };
    let actions = comes_back(&mut core, facts);
    let target = |slot, socket| Target { slot: Slot(slot), socket: SocketId(socket) };
    let steer = |listener, targets| Action::Steer { listener: ListenerId(listener), targets };
    let [answer, spawn, rest @ ..] = actions.as_slice() else { panic!("{actions:?}") };
    assert!(matches!(answer, Action::Answer { client: ClientId(3), reply: Reply::Done { .. } }));
    let Action::Spawn { worker: WorkerId(5), slot: Slot(1), spec, lend, .. } = spawn else {
        panic!("{spawn:?}")
    };
    assert_eq!(spec.command[2], "no-looks");
    assert_eq!(*lend, [(ListenerId(0), SocketId(1))]);
    let again = [
        steer(0, vec![target(2, 2)]),
        steer(1, vec![target(0, 3), target(2, 2)]),
        // The bus may not have been told.
        Action::BusDrain { worker: WorkerId(1) },
        Action::EndKept { worker: WorkerId(1), ends: true },
        // The worker shares a socket: it may have been frozen for a look.
        Action::Signal { worker: WorkerId(4), signal: 18, group: true },
        Action::Look { worker: WorkerId(1) },
    ];
    assert_eq!(*rest, again);
    // The client that hung up is not among them.
    assert_eq!(core.awaited(), [1, 3].map(ClientId).into());
}

#[test]
fn an_unknown_field_is_ignored() {
    let mut state = golden();
    let rooms = [
        "",
        "/core",
        "/core/job/rollout",
        "/core/job/rollout/to",
        "/core/slots/1",
        "/core/slots/1/history",
        "/core/sockets",
        "/core/sockets/listeners/1",
        "/core/sockets/listeners/1/opened",
        "/core/sockets/listeners/1/sockets/0",
        "/core/sockets/listeners/1/sockets/0/hold/vacant",
        "/core/workers/1",
        "/core/workers/1/state/draining",
        "/core/workers/1/watch",
        "/core/queue/0",
        "/specs/1",
        "/specs/1/times",
    ];
    for room in rooms {
        let room = state.pointer_mut(room).and_then(Value::as_object_mut).expect(room);
        room.insert("invented_later".to_owned(), json!({ "some": ["thing"] }));
    }
    let plain = restored(&golden()).snapshot().expect("text").get().to_owned();
    assert_eq!(restored(&state).snapshot().expect("text").get(), plain);
}

#[test]
fn an_invalid_snapshot_is_refused_with_a_reason() {
    assert!(matches!(Primary::restore(""), Err(RestoreError::Malformed(_))));
    assert!(matches!(Primary::restore("{\"format\":1}"), Err(RestoreError::Malformed(_))));
    let mut newer = golden();
    newer["format"] = json!(4);
    newer["core"] = json!("of another shape");
    let reason = "the snapshot has format 4, and this version reads formats up to 3; use the \
                  version that wrote it, or a newer one";
    assert_eq!(refusal(&newer), reason);
    let cut = |room: &str, key: &str| {
        let mut state = golden();
        let room = state.pointer_mut(room).and_then(Value::as_object_mut).expect("a room");
        room.remove(key).expect("it is there");
        refusal(&state)
    };
    let broken = "the snapshot contradicts itself: ";
    assert_eq!(cut("/specs", "2"), format!("{broken}no spec of edition 2"));
    assert_eq!(
        cut("/core/workers", "3"),
        format!("{broken}slot 2 names worker 3, which is missing")
    );
    let reason = format!("{broken}worker 5 is of slot 1, which is missing");
    assert_eq!(cut("/core/slots", "1"), reason);
}

/// A worker on a shared socket that is told to stop while it is frozen, and the core that has just
/// told it.
fn telling() -> (Primary, WorkerId, Time) {
    let mut sim = up(app("serve port=7000", 1));
    let worker = sim.ids()[0];
    sim.ask(Request::Stop { fast: false });
    sim.until("it is told", |sim| sim.told(NoticeKind::WorkerStopping).len() == 1);
    let now = sim.now;
    (successor(&sim.primary), worker, now)
}

#[test]
fn the_stop_signal_is_sent_again_only_if_it_may_not_have_left() {
    for (carried_out, expected) in [(false, &[15, 18][..]), (true, &[18])] {
        let (mut core, worker, now) = telling();
        let mut actions = Vec::new();
        let facts = Facts { workers: [worker].into(), carried_out, ..Facts::default() };
        core.resume(now, facts, &mut actions);
        let told: Vec<_> = actions.iter().filter_map(signal).collect();
        let expected: Vec<_> = expected.iter().map(|number| (worker.0, *number)).collect();
        assert_eq!(told, expected, "all carried out: {carried_out}");
    }
}

#[test]
fn a_worker_that_vanished_is_replaced_and_a_stranger_does_not_stay() {
    let mut core = restored(&golden());
    let facts = Facts { workers: workers([1, 2, 4, 5, 77]), ..Facts::default() };
    let actions = comes_back(&mut core, facts);
    assert!(
        actions.contains(&Action::Release { worker: WorkerId(2) }),
        "the lost release is repeated"
    );
    assert!(
        actions.contains(&Action::Kill { worker: WorkerId(77) }),
        "the unknown worker is killed"
    );
    let started: Vec<WorkerId> = actions
        .iter()
        .filter_map(|action| {
            if let Action::Spawn { worker, slot: Slot(2), .. } = action {
                Some(*worker)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(started, [WorkerId(78)]);
    let status = core.status(WRITTEN);
    assert_eq!(status.workers[3].state, WorkerState::Spawning);
    assert_eq!(status.workers[3].restarts, 1);
}

#[test]
fn a_closed_listener_is_closed_again_and_an_unknown_one_later() {
    let sim = up(app(GOOD, 1));
    let gone = OpenedListener {
        id: ListenerId(9),
        address: "127.0.0.1:9009".to_owned(),
        name: None,
        shared: false,
    };
    let mut core = successor(&sim.primary);
    let facts = || Facts {
        workers: sim.ids().into_iter().collect(),
        listeners: vec![gone.clone()],
        ..Facts::default()
    };
    let mut actions = Vec::new();
    core.resume(sim.now, facts(), &mut actions);
    core.step(sim.now, Event::Turn, &mut actions);
    let close = Action::CloseListener { listener: gone.id };
    assert!(!actions.contains(&close), "a worker may still ask for it");
    let later = sim.now + Duration::from_secs(10);
    core.step(later, Event::Turn, &mut actions);
    assert!(actions.contains(&close), "no worker has asked for it");
    // The primary dies over that.
    let mut core = successor(&core);
    let mut actions = Vec::new();
    core.resume(later, facts(), &mut actions);
    assert!(actions.contains(&close), "it may not have been closed");
}

#[test]
fn the_last_answer_and_the_exit_are_given_again() {
    let mut sim = up(app(GOOD, 1));
    let client = sim.ask(Request::Delete { fast: false });
    done(sim.answer(client));
    let mut core = successor(&sim.primary);
    let facts = Facts { clients: [client].into(), ..Facts::default() };
    let actions = comes_back(&mut core, facts);
    let expected = "web is stopped and deleted".to_owned();
    let reply = Reply::done(expected);
    assert_eq!(actions, [Action::Answer { client, reply }, Action::Exit { code: 0 }]);
}

#[test]
fn a_stop_does_not_wait_for_addresses_of_the_dead_primary() {
    let mut sim = up(app(GOOD, 1));
    let spec = Some(Box::new(listening(app(GOOD, 1), 8005)));
    sim.ask(Request::Reload { spec, pool: None });
    sim.ask(Request::Delete { fast: true });
    let mut core = successor(&sim.primary);
    let mut actions = Vec::new();
    core.resume(sim.now, Facts::default(), &mut actions);
    core.step(sim.now, Event::Turn, &mut actions);
    assert!(actions.contains(&Action::Exit { code: 0 }), "{actions:?}");
}

#[test]
fn a_worker_that_waited_for_the_successor_has_time_to_become_ready() {
    for rule in [ReadyRule::Auto, ReadyRule::Listen] {
        let mut spec = app("serve hang", 1);
        spec.ready = rule;
        let mut sim = Sim::begun(spec, 7);
        sim.until("it runs", |sim| !sim.told(NoticeKind::WorkerStarted).is_empty());
        let mut core = successor(&sim.primary);
        let late = sim.now + Duration::from_secs(60);
        let mut actions = Vec::new();
        let facts = Facts { workers: sim.ids().into_iter().collect(), ..Facts::default() };
        core.resume(late, facts, &mut actions);
        let (worker, listener) = (sim.ids()[0], ListenerId(0));
        let opened =
            OpenedListener { id: listener, address: "a:1".to_owned(), name: None, shared: false };
        core.step(late, Event::ListenerFound(opened), &mut actions);
        let asks = Cue::BindAsked { listener, ticket: Ticket(0), another: false };
        core.step(late, Event::Worker { worker, cue: asks }, &mut actions);
        core.step(late, Event::Turn, &mut actions);
        let socket = SocketId(0);
        assert!(actions.contains(&Action::Lend { ticket: Ticket(0), worker, listener, socket }));
        assert_eq!(core.status(late).status, Status::Starting);
        let soon = late + Duration::from_millis(900);
        let listens = Cue::Listening { listener, socket };
        core.step(soon, Event::Worker { worker, cue: listens }, &mut actions);
        assert_eq!(core.status(soon).status, Status::Ready);
        assert_eq!(actions.iter().find_map(signal), None);
    }
}
