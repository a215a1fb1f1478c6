//! Scenarios of workers that close a listener, or leave, of their own accord.

use super::super::event::{Cue, Event};
use super::*;
use crate::base::exit::Exit;
use crate::base::ids::ListenerId;

/// The slots that get new connections.
fn steered(sim: &Sim) -> Vec<u16> {
    let listener = sim.listeners.values().next().expect("a listener");
    listener.steered.iter().map(|target| target.slot.0).collect()
}

/// The worker of a slot, with the listener and socket that it listens on.
fn seated(sim: &Sim, slot: u16) -> (WorkerId, ListenerId, SocketId) {
    let worker = sim.primary.workers().find(|(_, of, _)| of.0 == slot).expect("it is there").0;
    let (listener, open) = sim.listeners.iter().next().expect("a listener");
    let target = open.steered.iter().find(|target| target.slot.0 == slot).expect("it serves");
    let (listener, socket) = (*listener, target.socket);
    (worker, listener, socket)
}

#[test]
fn a_worker_that_closes_gets_no_connections_until_it_listens_again() {
    let mut sim = up(app(GOOD, 3));
    let (worker, listener, socket) = seated(&sim, 1);
    sim.feed(Event::Worker { worker, cue: Cue::Closed { listener, socket } });
    assert_eq!(steered(&sim), [0, 2]);
    // It cannot close the socket of another worker.
    let other = seated(&sim, 0).2;
    sim.feed(Event::Worker { worker, cue: Cue::Closed { listener, socket: other } });
    assert_eq!(steered(&sim), [0, 2]);
    sim.feed(Event::Worker { worker, cue: Cue::Listening { listener, socket } });
    assert_eq!(steered(&sim), [0, 1, 2]);
}

#[test]
fn when_every_worker_has_closed_connections_wait_where_they_are() {
    let mut sim = up(app(GOOD, 2));
    for slot in [0, 1] {
        let (worker, listener, socket) = seated(&sim, slot);
        sim.feed(Event::Worker { worker, cue: Cue::Closed { listener, socket } });
    }
    assert_eq!(steered(&sim), [1], "there is nothing better");
    let client = sim.ask(reload(GOOD, 2));
    done(sim.answer(client));
    assert_eq!(steered(&sim), [0, 1]);
}

#[test]
fn leaving_is_never_a_failure() {
    let mut sim = up(app(GOOD, 2));
    for _ in 0..40 {
        sim.pass(Duration::from_millis(1100));
        let worker = seated(&sim, 0).0;
        sim.feed(Event::Worker { worker, cue: Cue::Leaving });
        sim.die(worker, Exit::Code(0));
        sim.until("the next one", |sim| sim.app_status() == Status::Ready);
    }
    // A worker that leaves as soon as it is ready, or with an error, has failed.
    for _ in 0..11 {
        let Some(state) = sim.primary.workers().find(|(_, of, _)| of.0 == 0) else { break };
        let worker = state.0;
        sim.feed(Event::Worker { worker, cue: Cue::Leaving });
        sim.die(worker, Exit::Code(1));
        sim.pass(Duration::from_secs(2));
    }
    assert_eq!(sim.app_status(), Status::Degraded, "the slot is given up");
}
