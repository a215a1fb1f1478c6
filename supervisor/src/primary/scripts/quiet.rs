//! Scenarios of programs that listen on nothing: how long a start waits for them.

use super::super::Primary;
use super::*;
use crate::base::ids::CommandKey;
use std::sync::Arc;

const QUIET: &str = "serve";

/// How long the app takes to become ready, from now on.
fn takes(sim: &mut Sim) -> Duration {
    let (began, client) = (sim.now, sim.ask(Request::WaitReady));
    done(sim.answer(client));
    sim.now.since(began)
}

/// The app in a world whose earlier cores noted the commands that `knows` names.
fn begun_after(command: &str, knows: impl Fn(CommandKey) -> bool) -> Sim {
    let mut sim = Sim::new(app(command, 2), 7);
    sim.primary = Primary::new(Arc::new(app(command, 2)), 7).knowing_quiet(knows);
    sim.begin();
    sim
}

#[test]
fn a_command_that_listened_on_nothing_is_not_waited_for_again() {
    let mut first = Sim::begun(app(QUIET, 2), 7);
    assert!(takes(&mut first) >= Duration::from_secs(5), "a server may need the time");
    assert_eq!(first.quiet.values().collect::<Vec<_>>(), [&true]);

    let client = first.ask(Request::Restart { hard: true, spec: None });
    let began = first.now;
    done(first.answer(client));
    let restart = first.now.since(began);
    assert!(restart < Duration::from_secs(3), "{restart:?}");

    let known = |key| first.quiet.get(&key) == Some(&true);
    let mut next = begun_after(QUIET, known);
    let took = takes(&mut next);
    assert!((1..2).contains(&took.as_secs()), "{took:?}");
    let mut other = begun_after("serve deaf", known);
    assert!(takes(&mut other) >= Duration::from_secs(5), "another command");
}

#[test]
fn a_command_that_listens_after_all_is_forgotten() {
    const LATE: &str = "serve port=8000 late=3000";
    let mut sim = begun_after(LATE, |_| true);
    assert!(takes(&mut sim) < Duration::from_secs(2), "it was quiet the last time");
    sim.until("it listens", |sim| !sim.listeners.is_empty());
    sim.until("it is forgotten", |sim| sim.quiet.values().eq([&false]));
    let mut next = begun_after(LATE, |key| sim.quiet.get(&key) == Some(&true));
    let took = takes(&mut next);
    assert!((3..4).contains(&took.as_secs()), "{took:?}");
    assert_eq!(next.app_status(), Status::Ready);
}

#[test]
fn a_slow_server_is_waited_for() {
    let mut sim = Sim::begun(app("serve port=8000 late=4000", 2), 7);
    let took = takes(&mut sim);
    assert!((4..5).contains(&took.as_secs()), "{took:?}");
    assert!(sim.quiet.is_empty());
}
