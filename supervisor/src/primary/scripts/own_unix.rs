//! Scenarios of workers that make their unix sockets themselves.

use super::super::event::{Cue, Event};
use super::*;

const PATH: &str = "/run/x.sock";

/// The worker of a slot listens on a unix socket that it made.
fn makes(sim: &mut Sim, slot: u16, path: &str) {
    let worker = sim.primary.workers().find(|(_, of, _)| of.0 == slot).expect("it is there").0;
    sim.feed(Event::Worker { worker, cue: Cue::ListensOnUnix { path: path.to_owned() } });
}

#[test]
fn a_worker_that_serves_only_a_unix_socket_of_its_own_is_not_reloaded() {
    let mut sim = up(app("serve", 1));
    makes(&mut sim, 0, PATH);
    let (kind, reason, _) = sim.refuses(reload("serve", 1));
    assert_eq!(kind, FailureKind::RolledBack);
    assert!(reason.contains(PATH) && reason.contains("restart --hard"), "{reason}");
    let started = sim.told(NoticeKind::WorkerStarted).len();
    assert_eq!(started, 1, "no successor was tried");
    let spec = Some(Box::new(app("serve", 1)));
    let client = sim.ask(Request::Restart { hard: true, spec });
    done(sim.answer(client));
    // The new worker has not made one (yet).
    let client = sim.ask(reload("serve", 1));
    done(sim.answer(client));
}

#[test]
fn a_worker_that_serves_tcp_may_have_a_unix_socket_of_its_own() {
    let mut sim = up(app(GOOD, 2));
    for slot in [0, 1] {
        makes(&mut sim, slot, PATH);
    }
    assert!(sim.primary.status(sim.now).notes.is_empty());
    let client = sim.ask(reload(GOOD, 2));
    done(sim.answer(client));
}

#[test]
fn workers_that_take_a_path_from_each_other_are_named() {
    let mut sim = up(app("serve", 2));
    makes(&mut sim, 0, PATH);
    assert!(sim.primary.status(sim.now).notes.is_empty());
    makes(&mut sim, 1, PATH);
    let notes = sim.primary.status(sim.now).notes;
    assert!(notes[0].starts_with("2 workers made the unix socket /run/x.sock"), "{notes:?}");
}
