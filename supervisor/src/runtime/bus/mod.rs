//! The workers' channels to the bus: bytes become messages to the relay, and its messages become
//! bytes. What a person asks of the bus is answered here.
//!
//! Each turn reads a bounded part of each channel, and writes to each worker a few times at most.

pub(super) mod busy_poll;
pub(in crate::runtime) mod channel;
pub(super) mod commands;
pub(super) mod loss_journal;
pub(super) mod resume;
pub(super) mod shared_values;
pub(super) mod writer;

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::AsFd;

use ipc::bus::FromWorker;
use ipc::bus::event::Found;
use ipc::control::Contract;

use self::busy_poll::BusyPoll;
use self::channel::BusChannel;
use self::commands::Waiting;
use self::loss_journal::LossJournal;
use self::shared_values::Shared;
use super::Runtime;
use super::contracts::Readiness;
use super::probe::growth::Growing;
use super::source::Source;
use super::workers::Child;
use crate::base::ids::WorkerId;
use crate::base::time::Time;
use crate::limits::{CHANNEL_READ, LAST_READS};
use crate::primary::action::ReloadOutcome;
use crate::primary::event::{Cue, Notification};
use crate::relay::{Action, Event, Gift, Relay};
use crate::sys::channel::{Received, receive};
use crate::sys::clock;

/// Descriptors that may wait for their messages; clients send each with its own.
const UNCLAIMED: usize = 8;

/// The bus of an app.
#[derive(Debug)]
pub(crate) struct Bus {
    pub(super) relay: Relay,
    pub(super) triggers: BTreeMap<u64, Waiting>,
    pub(super) tickets: u64,
    pub(super) actions: VecDeque<Action>,
    /// Workers whose channels were paused and may hold whole messages.
    resumed: Vec<WorkerId>,
    /// How many events the clients of `events` missed.
    pub(super) not_shown: u64,
    /// Reloads after which the new generation served.
    pub(super) reloads_done: u64,
    /// Reloads that failed.
    pub(super) reloads_rolled_back: u64,
    /// The values that the workers share.
    pub(super) shared: Shared,
    /// The workers' memory.
    pub(super) growing: Growing,
    pub(super) bytes: Vec<u8>,
    pub(super) busy_poll: BusyPoll,
    /// What waits for the workers.
    loss_journal: LossJournal,
}

impl Bus {
    pub(crate) fn new(app: String) -> Self {
        Self {
            relay: Relay::new(app),
            triggers: BTreeMap::new(),
            tickets: 0,
            actions: VecDeque::new(),
            resumed: Vec::new(),
            not_shown: 0,
            reloads_done: 0,
            reloads_rolled_back: 0,
            shared: Shared::default(),
            growing: Growing::default(),
            bytes: vec![0; CHANNEL_READ],
            busy_poll: BusyPoll::default(),
            loss_journal: LossJournal::default(),
        }
    }

    /// When the bus has something to do.
    pub(crate) fn deadline(&self) -> Option<Time> {
        [self.relay.deadline(), self.growing.policy.deadline(), self.shared.policy.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn count_reload(&mut self, outcome: ReloadOutcome) {
        match outcome {
            ReloadOutcome::Done => self.reloads_done += 1,
            ReloadOutcome::RolledBack => self.reloads_rolled_back += 1,
        }
    }

    pub(super) fn step(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.relay.step(clock::now(), event, &mut actions);
        self.actions.extend(actions);
    }
}

impl Runtime {
    /// A worker was started.
    pub(super) fn join_bus(&mut self, worker: WorkerId) {
        let Some(child) = self.children.get(&worker) else { return };
        let (slot, pool) = (child.slot.0, child.spec.pool().to_owned());
        let generation = child.generation;
        self.bus.step(Event::Joined { worker, slot, generation, pool });
    }

    /// Tells a worker that it drains; it gets no more calls.
    pub(super) fn drain_on_bus(&mut self, worker: WorkerId) {
        self.writer.stale = true;
        self.bus.step(Event::Draining { worker });
    }

    /// Bytes on a worker's channel, or room for some, or its end.
    pub(super) fn take_bus(&mut self, worker: WorkerId, ready: Readiness) {
        let Readiness { readable, hangup } = ready;
        if hangup {
            // Nothing can be written any more, and what is left is bounded by its socket.
            self.resume_bus(worker);
        }
        if readable {
            self.read_bus(worker, 1);
        }
        self.write_bus(worker);
    }

    fn read_bus(&mut self, worker: WorkerId, times: usize) {
        for _ in 0..times {
            let Some(channel) = self.children.get_mut(&worker).and_then(Child::bus_mut) else {
                return;
            };
            if channel.paused {
                return;
            }
            if channel.decoder.codec().is_none() && self.hear_hello(worker) {
                continue;
            }
            let Some(channel) = self.children.get_mut(&worker).and_then(Child::bus_mut) else {
                return;
            };
            match receive(channel.stream.as_fd(), &mut self.bus.bytes) {
                Ok(Received::Some(count, fds)) => {
                    channel.fds.extend(fds);
                    channel.decoder.push(&self.bus.bytes[..count]);
                }
                Ok(Received::Nothing) => return,
                Ok(Received::End) => return self.close_bus(worker, None),
                Err(error) => return self.close_bus(worker, Some(error.to_string())),
            }
            self.hear_bus(worker);
        }
    }

    /// Hears what has come whole.
    pub(super) fn hear_bus(&mut self, worker: WorkerId) {
        loop {
            let now = clock::now();
            if let Err(error) = self.hear_some(worker, now) {
                return self.close_bus(worker, Some(error));
            }
            if self.bus.actions.is_empty() {
                return;
            }
            self.perform_bus();
        }
    }

    /// Hears messages until one has a consequence here.
    fn hear_some(&mut self, worker: WorkerId, now: Time) -> Result<(), String> {
        let Some(child) = self.children.get_mut(&worker) else { return Ok(()) };
        let Some(channel) = child.endpoints.get_mut::<BusChannel>() else { return Ok(()) };
        let mut actions = Vec::new();
        while actions.is_empty() && !channel.paused {
            let message = match channel.decoder.next_found().map_err(|error| error.to_string())? {
                None => break,
                Some(Found::Event(event)) => {
                    self.bus.relay.emitted(now, worker, event, &mut actions);
                    continue;
                }
                Some(Found::Other(message)) => message,
            };
            let Some(codec) = channel.decoder.codec() else { break };
            if matches!(message, FromWorker::Hello { .. }) {
                child.contracts.insert(Contract::Native);
            }
            if let FromWorker::Give { id, slot, topic, data } = message {
                let fd = channel.fds.pop_front();
                let fd = fd.ok_or("it gave a descriptor without sending one")?;
                let gift = Gift { id, slot, topic, data, fd };
                self.bus.relay.give(worker, gift, &mut actions);
                continue;
            }
            self.writer.stale |= message.lasts();
            let spoke = Event::Spoke { worker, codec, message };
            self.bus.relay.step(now, spoke, &mut actions);
        }
        self.bus.actions.extend(actions);
        if !channel.paused && channel.fds.len() > UNCLAIMED {
            return Err(format!("it sent more than {UNCLAIMED} descriptors without a message"));
        }
        Ok(())
    }

    /// Does what the relay wants.
    fn perform_bus(&mut self) {
        while let Some(action) = self.bus.actions.pop_front() {
            match action {
                Action::Pause(worker) => self.pause_bus(worker),
                Action::Resume(worker) => self.resume_bus(worker),
                Action::Cut { worker, why } => {
                    self.write_bus(worker);
                    self.close_bus(worker, Some(why));
                }
                Action::Ready(worker) => self.cue(worker, Cue::Notified(Notification::Ready)),
                Action::Leaving(worker) => {
                    self.cue(worker, Cue::Notified(Notification::Stopping));
                }
                Action::Heard { from, topic, data } => self.show_event(from, &topic, &data),
                Action::Answered { ticket, slot, answer } => {
                    self.take_answer(ticket, slot, answer);
                }
                Action::Applied { worker, version, error } => {
                    self.take_applied(worker, version, error);
                }
                Action::Warn(text) => self.warn(text),
            }
        }
    }

    fn pause_bus(&mut self, worker: WorkerId) {
        if let Some(channel) = self.children.get_mut(&worker).and_then(Child::bus_mut) {
            channel.paused = true;
        }
        self.watch_bus(worker);
    }

    fn resume_bus(&mut self, worker: WorkerId) {
        let Some(channel) = self.children.get_mut(&worker).and_then(Child::bus_mut) else {
            return;
        };
        if std::mem::replace(&mut channel.paused, false) {
            self.bus.resumed.push(worker);
            self.watch_bus(worker);
        }
    }

    pub(super) fn watch_bus(&mut self, worker: WorkerId) {
        let Some(channel) = self.children.get(&worker).and_then(Child::bus) else { return };
        let (token, readable) =
            (Source::Endpoint(Contract::Native, worker).token(), !channel.paused);
        let writable = channel.waits_for_room;
        if let Err(error) = self.events.poller.watch(channel.fd(), token, readable, writable) {
            self.warn(format!("cannot watch a worker's bus channel: {error}"));
        }
    }

    /// The end of a turn: what is overdue, and what waits to be written.
    pub(super) fn turn_bus(&mut self) {
        self.share();
        self.answer_shared();
        self.watch_growth();
        let mut actions = Vec::new();
        let followed = self.clients.has_followers();
        self.bus.relay.follow(followed);
        self.bus.relay.turn(clock::now(), &mut actions);
        self.bus.actions.extend(actions);
        self.perform_bus();
        // A resumed worker may be paused again and another resumed; each was heard by then.
        let most = self.children.len();
        for _ in 0..most {
            let Some(worker) = self.bus.resumed.pop() else { break };
            self.hear_bus(worker);
        }
        self.write_bus_to_all();
        self.perform_bus();
    }

    /// Whether the bus has work that no fd announces.
    pub(super) fn bus_is_restless(&self) -> bool {
        !self.bus.resumed.is_empty() || !self.bus.actions.is_empty() || self.bus.relay.is_dirty()
    }

    /// A worker has ended: what it said last is heard.
    pub(super) fn leave_bus(&mut self, worker: WorkerId) {
        self.resume_bus(worker);
        self.read_bus(worker, LAST_READS);
        self.close_bus(worker, None);
        self.forget_growth(worker);
        self.forget_shared(worker);
    }

    /// Ends a channel. `why`: the worker broke a rule; else it closed its end.
    pub(super) fn close_bus(&mut self, worker: WorkerId, why: Option<String>) {
        let Some(child) = self.children.get_mut(&worker) else { return };
        let Some(channel) = child.endpoints.take::<BusChannel>() else { return };
        self.writer.stale = true;
        let (slot, pid) = (child.slot, child.pid.0);
        self.events.poller.remove(channel.fd());
        if let Some(why) = why {
            self.warn(format!("slot {slot} (pid {pid}) was cut off from the bus: {why}"));
        }
        self.bus.step(Event::Left { worker });
        self.bus.loss_journal.forget(worker);
    }
}
