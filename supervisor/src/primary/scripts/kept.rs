//! Kept connections that are never quiet: who ends them, and when.

use super::*;

/// Reloads an app of two workers that serve such connections; the answer, and how long it took,
/// without the time for which the canary is observed.
fn reloaded(sim: &mut Sim, command: &str) -> (String, Duration) {
    let began = sim.now;
    let mut spec = app(command, 2);
    spec.times.observe = Duration::ZERO;
    let client = sim.ask(Request::Reload { spec: Some(Box::new(spec)), pool: None });
    let answer = done(sim.answer(client));
    (answer, sim.now.since(began))
}

#[test]
fn a_program_that_finishes_is_told_to_stop_early() {
    const COMMAND: &str = "serve port=8000 kept finishes";
    let mut sim = up(app(COMMAND, 2));
    let (answer, took) = reloaded(&mut sim, COMMAND);
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(!answer.contains("cut") && sim.cut == 0, "{answer}");
    let told = sim.told(NoticeKind::WorkerStopping);
    let early = "told to stop by SIGTERM while 1 connection stays busy, 2";
    assert!(told.iter().all(|it| it.starts_with(early) && it.ends_with(": it handles SIGTERM")));
}

#[test]
fn a_program_without_a_handler_is_waited_for() {
    const COMMAND: &str = "serve port=8000 kept";
    let mut sim = up(app(COMMAND, 2));
    let (answer, took) = reloaded(&mut sim, COMMAND);
    assert!(took > Duration::from_secs(60), "{took:?}");
    assert!(answer.ends_with("; 2 connections cut by the drain timeout"), "{answer}");
    let told = sim.told(NoticeKind::WorkerDraining);
    let why = |it: &&str| it.ends_with("to end by themselves: it does not handle SIGTERM");
    assert_eq!(told.iter().copied().filter(why).count(), 2, "{told:?}");
}

#[test]
fn what_a_runtime_promises_is_believed_once_it_was_seen() {
    const COMMAND: &str = "serve port=8000 kept runtime-finishes";
    let mut sim = up(app(COMMAND, 2));
    let (_, first) = reloaded(&mut sim, COMMAND);
    assert!(first > Duration::from_secs(30), "{first:?}");
    let (answer, second) = reloaded(&mut sim, COMMAND);
    assert!(second < Duration::from_secs(8), "{second:?}");
    assert!(!answer.contains("cut"), "{answer}");
}

#[test]
fn a_program_that_ends_its_connections_is_drained_at_once() {
    const COMMAND: &str = "serve port=8000 kept ends-kept";
    let mut sim = up(app(COMMAND, 2));
    let (answer, took) = reloaded(&mut sim, COMMAND);
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(!answer.contains("cut") && sim.cut == 0, "{answer}");
}

#[test]
fn the_configuration_decides() {
    for (graceful, early) in [(Graceful::Always, true), (Graceful::Never, false)] {
        for habit in ["runtime-finishes", "finishes"] {
            let command = format!("serve port=8000 kept {habit}");
            let mut spec = app(&command, 1);
            spec.graceful = graceful;
            let mut sim = up(spec.clone());
            let client = sim.ask(Request::Reload { spec: Some(Box::new(spec)), pool: None });
            let began = sim.now;
            done(sim.answer(client));
            assert_eq!(sim.now.since(began) < Duration::from_secs(6), early, "{graceful:?}");
        }
    }
}

/// It has `drain_timeout` in all, and is killed then: it was told to stop long before.
#[test]
fn a_program_that_does_not_keep_its_promise_is_killed_at_the_drain_timeout() {
    const COMMAND: &str = "serve port=8000 kept finishes deaf";
    let mut sim = up(app(COMMAND, 1));
    let client = sim.ask(reload(COMMAND, 1));
    let began = sim.now;
    let answer = done(sim.answer(client));
    let took = sim.now.since(began);
    assert!(took > Duration::from_secs(31) && took < Duration::from_secs(33), "{took:?}");
    assert!(answer.ends_with("; 1 connection cut by the drain timeout"), "{answer}");
}
