//! What the relay has for the workers, on its way out: several writes to one of them in a turn, each
//! so short that it goes whole or not at all. What finds no room waits for it.

use std::io::IoSlice;
use std::os::fd::AsFd;

use super::{Bus, watch};
use crate::base::ids::WorkerId;
use crate::relay::Waiting;
use crate::runtime::context::Context;
use crate::runtime::workers::Child;
use crate::sys::channel::{self, WHOLE};
use crate::sys::clock;

/// Writes to one worker in a turn: about what is read of one.
const WRITES: usize = 512 * 1024 / WHOLE;

impl Bus {
    /// Writes what waits for a worker, in a few writes at most.
    pub(in crate::runtime) fn write(&mut self, at: &mut Context<'_>, worker: WorkerId) {
        let Some(channel) = at.children.get(&worker).and_then(Child::bus) else { return };
        if !self.relay.has_more(worker) && !channel.waits_for_room {
            return;
        }
        for _ in 0..WRITES {
            if !self.write_once(at, worker) {
                break;
            }
        }
        self.note_waiting(at, worker);
        let Some(channel) = at.children.get(&worker).and_then(Child::bus) else { return };
        let wanted = self.relay.has_more(worker);
        if channel.waits_for_room == wanted {
            return;
        }
        if let Some(channel) = at.children.get_mut(&worker).and_then(Child::bus_mut) {
            channel.waits_for_room = wanted;
        }
        watch(at, worker);
    }

    /// One write. Whether all of it found room, and more waits.
    fn write_once(&mut self, at: &mut Context<'_>, worker: WorkerId) -> bool {
        let (mut flight, mut fd) = self.relay.flight(worker);
        let is_long = flight.first().is_some_and(|piece| piece.len() > WHOLE);
        if is_long && !self.loss_journal.is_half_written(worker) {
            self.note_half_written(at, worker);
            (flight, fd) = self.relay.flight(worker);
        }
        let Some(channel) = at.children.get(&worker).and_then(Child::bus) else {
            return false;
        };
        let mut length = 0;
        // So much goes whole or not at all: of short messages nobody ever has a half.
        let pieces = flight.into_iter().take_while(|piece| {
            let fits = length == 0 || length + piece.len() <= WHOLE;
            length += if fits { piece.len() } else { 0 };
            fits
        });
        let pieces: Vec<IoSlice<'_>> = pieces.map(IoSlice::new).collect();
        if length == 0 {
            return false;
        }
        // An error: the worker has closed its end; what it still said is read first.
        let written = channel::send_all(channel.stream.as_fd(), &pieces, fd);
        let count = written.unwrap_or_default().unwrap_or_default();
        if count > 0 {
            self.busy_poll.flowed();
            let mut actions = Vec::new();
            self.relay.wrote(clock::now(), worker, count, &mut actions);
            self.actions.extend(actions);
        }
        count == length && self.relay.has_more(worker)
    }

    /// What waits to be written. First of all in a turn, for somebody waits for it.
    pub(in crate::runtime) fn write_to_all(&mut self, at: &mut Context<'_>) {
        for worker in self.relay.take_dirty() {
            self.write(at, worker);
        }
    }

    /// After a write to a worker: what waits for it still.
    pub(in crate::runtime) fn note_waiting(&mut self, at: &mut Context<'_>, worker: WorkerId) {
        self.write_down(at, worker, self.relay.waiting(worker));
    }

    /// Before a write that may leave it with half a message.
    pub(in crate::runtime) fn note_half_written(&mut self, at: &mut Context<'_>, worker: WorkerId) {
        let waiting = Waiting { half_written: true, ..self.relay.waiting(worker) };
        self.write_down(at, worker, waiting);
    }

    /// What waits for a worker, for a successor.
    pub(super) fn write_down(&mut self, at: &mut Context<'_>, worker: WorkerId, waiting: Waiting) {
        match self.loss_journal.note(worker, waiting) {
            Err(error) if !self.loss_journal.failed => {
                self.loss_journal.failed = true;
                at.warn(format!(
                    "cannot write down which messages wait; if the primary dies, those that are lost will not be counted, and a worker may get a long one that is broken: {error}"
                ));
            }
            Ok(()) | Err(_) => {}
        }
    }
}
