//! Scenarios of workers that listen with TCP sockets of their own.

use std::collections::BTreeSet;

use super::super::event::{Cue, Event};
use super::*;
use crate::base::ids::ListenerId;
use crate::base::own_sockets::OwnSockets;

const OWN: &str = "127.0.0.1:4711";

/// A look shows that the worker of a slot listens on its own.
fn has(sim: &mut Sim, slot: u16, own: OwnSockets) {
    let worker = sim.primary.workers().find(|(_, of, _)| of.0 == slot).expect("it is there").0;
    sim.feed(Event::Worker { worker, cue: Cue::OwnSockets(own) });
}

fn unseen(address: &str) -> OwnSockets {
    OwnSockets { unseen: BTreeSet::from([address.to_owned()]), ..OwnSockets::default() }
}

fn let_through(address: &str) -> OwnSockets {
    OwnSockets { let_through: BTreeSet::from([address.to_owned()]), ..OwnSockets::default() }
}

#[test]
fn a_worker_that_listens_unseen_is_ready_at_once_and_is_not_reloaded() {
    let mut sim = Sim::begun(app("serve", 1), 7);
    let (began, client) = (sim.now, sim.ask(Request::WaitReady));
    sim.until("its program runs", |sim| !sim.told(NoticeKind::WorkerStarted).is_empty());
    has(&mut sim, 0, unseen(OWN));
    done(sim.answer(client));
    assert!(sim.now.since(began) < Duration::from_secs(2), "it listens");
    assert!(sim.quiet.is_empty(), "its command is no quiet one");
    let notes = sim.primary.status(sim.now).notes;
    assert!(notes[0].starts_with("slot 0 listens on 127.0.0.1:4711, and"), "{notes:?}");
    let (kind, reason, _) = sim.refuses(reload("serve", 1));
    assert_eq!(kind, FailureKind::RolledBack);
    assert!(reason.contains(OWN) && reason.contains("--io-uring deny"), "{reason}");
    assert_eq!(sim.told(NoticeKind::WorkerStarted).len(), 1, "no successor was tried");
    // The program has closed it.
    has(&mut sim, 0, OwnSockets::default());
    let client = sim.ask(reload("serve", 1));
    done(sim.answer(client));
}

#[test]
fn a_socket_that_was_left_to_the_program_does_not_keep_it_from_a_reload() {
    let mut sim = up(app(GOOD, 2));
    for slot in [0, 1] {
        has(&mut sim, slot, let_through(OWN));
    }
    assert!(sim.primary.status(sim.now).notes.is_empty());
    let client = sim.ask(reload(GOOD, 2));
    done(sim.answer(client));
}

#[test]
fn a_slot_that_serves_elsewhere_than_its_sibling_is_named_with_where() {
    let mut sim = up(app(GOOD, 2));
    let worker = sim.ids()[1];
    sim.feed(Event::Worker {
        worker,
        cue: Cue::Closed { listener: ListenerId(0), socket: SocketId(1) },
    });
    has(&mut sim, 1, let_through(OWN));
    let notes = sim.primary.status(sim.now).notes;
    let expected = "slot 0 on 127.0.0.1:8000; slot 1 on 127.0.0.1:4711 (its own)";
    assert!(notes[0].contains(expected), "{notes:?}");
}
