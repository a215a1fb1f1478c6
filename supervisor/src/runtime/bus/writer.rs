//! What the relay has for the workers, on its way out: several writes to one of them in a turn, each
//! so short that it goes whole or not at all. What finds no room waits for it.

use std::io::IoSlice;
use std::os::fd::AsFd;

use crate::base::ids::WorkerId;
use crate::runtime::Runtime;
use crate::runtime::workers::Child;
use crate::sys::channel::{self, WHOLE};
use crate::sys::clock;

/// Writes to one worker in a turn: about what is read of one.
const WRITES: usize = 512 * 1024 / WHOLE;

impl Runtime {
    /// Writes what waits for a worker, in a few writes at most.
    pub(in crate::runtime) fn write_bus(&mut self, worker: WorkerId) {
        let Some(channel) = self.children.get(&worker).and_then(Child::bus) else { return };
        if !self.bus.relay.has_more(worker) && !channel.waits_for_room {
            return;
        }
        for _ in 0..WRITES {
            if !self.write_once(worker) {
                break;
            }
        }
        self.note_waiting(worker);
        let Some(channel) = self.children.get(&worker).and_then(Child::bus) else { return };
        let wanted = self.bus.relay.has_more(worker);
        if channel.waits_for_room == wanted {
            return;
        }
        if let Some(channel) = self.children.get_mut(&worker).and_then(Child::bus_mut) {
            channel.waits_for_room = wanted;
        }
        self.watch_bus(worker);
    }

    /// One write. Whether all of it found room, and more waits.
    fn write_once(&mut self, worker: WorkerId) -> bool {
        let (mut flight, mut fd) = self.bus.relay.flight(worker);
        let is_long = flight.first().is_some_and(|piece| piece.len() > WHOLE);
        if is_long && !self.bus.loss_journal.is_half_written(worker) {
            self.note_half_written(worker);
            (flight, fd) = self.bus.relay.flight(worker);
        }
        let Some(channel) = self.children.get(&worker).and_then(Child::bus) else {
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
            self.bus.busy_poll.flowed();
            let mut actions = Vec::new();
            self.bus.relay.wrote(clock::now(), worker, count, &mut actions);
            self.bus.actions.extend(actions);
        }
        count == length && self.bus.relay.has_more(worker)
    }

    /// What waits to be written. First of all in a turn, for somebody waits for it.
    pub(in crate::runtime) fn write_bus_to_all(&mut self) {
        for worker in self.bus.relay.take_dirty() {
            self.write_bus(worker);
        }
    }
}
