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
use std::sync::Arc;

use config::spec::AppSpec;
use ipc::bus::event::Found;
use ipc::bus::{FromWorker, Json};
use ipc::control::Contract;
use ipc::talk::Answered;

use self::busy_poll::BusyPoll;
use self::channel::{BusChannel, Greeting};
use self::loss_journal::LossJournal;
use super::context::Context;
use super::contracts::interface::Readiness;
use super::control::Clients;
use super::snapshot::pieces::Children;
use super::source::Source;
use super::workers::Child;
use crate::base::ids::{ClientId, WorkerId};
use crate::base::per_generation::PerGeneration;
use crate::base::time::Time;
use crate::limits::{CHANNEL_READ, LAST_READS};
use crate::policy::shared_values::{SharedValues, Version};
use crate::primary::action::ReloadOutcome;
use crate::primary::event::{Cue, Notification};
use crate::relay::{self, Action, Event, Gift, Relay};
use crate::sys::channel::{Received, receive};
use crate::sys::clock;

/// Descriptors that may wait for their messages; clients send each with its own.
const UNCLAIMED: usize = 8;

/// A person who waits for what workers say to a trigger.
#[derive(Debug)]
struct Waiting {
    client: ClientId,
    missing: usize,
    answers: Vec<Answered>,
}

/// The shared values of an app.
#[derive(Debug, Default)]
struct Shared {
    /// The specs whose values the policy knows.
    seen: Option<PerGeneration<Arc<AppSpec>>>,
    policy: SharedValues,
}

impl Shared {
    /// As the relay has them.
    fn for_relay(&self) -> PerGeneration<relay::Version> {
        self.policy.versions().map(|version: &Version| {
            let data = version.values().and_then(|text| Json::parse(text).ok());
            relay::Version { number: version.number(), data: data.unwrap_or_default() }
        })
    }
}

/// The bus of an app.
#[derive(Debug)]
pub(crate) struct Bus {
    relay: Relay,
    triggers: BTreeMap<u64, Waiting>,
    tickets: u64,
    actions: VecDeque<Action>,
    /// Workers whose channels were paused and may hold whole messages.
    resumed: Vec<WorkerId>,
    /// How many events the clients of `events` missed.
    not_shown: u64,
    /// Reloads after which the new generation served.
    reloads_done: u64,
    /// Reloads that failed.
    reloads_rolled_back: u64,
    /// The values that the workers share.
    shared: Shared,
    bytes: Vec<u8>,
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
            bytes: vec![0; CHANNEL_READ],
            busy_poll: BusyPoll::default(),
            loss_journal: LossJournal::new(),
        }
    }

    /// When the bus has something to do.
    pub(crate) fn deadline(&self) -> Option<Time> {
        [self.relay.deadline(), self.shared.policy.deadline()].into_iter().flatten().min()
    }

    /// The readers, calls and metrics, for the status.
    pub(super) fn relay(&self) -> &Relay {
        &self.relay
    }

    /// How many events the clients of `events` missed.
    pub(super) fn not_shown(&self) -> u64 {
        self.not_shown
    }

    /// Reloads after which the new generation served, and reloads that failed.
    pub(super) fn reloads(&self) -> (u64, u64) {
        (self.reloads_done, self.reloads_rolled_back)
    }

    /// A reload has ended.
    pub(super) fn count_reload(&mut self, outcome: ReloadOutcome) {
        match outcome {
            ReloadOutcome::Done => self.reloads_done += 1,
            ReloadOutcome::RolledBack => self.reloads_rolled_back += 1,
        }
    }

    fn step(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.relay.step(clock::now(), event, &mut actions);
        self.actions.extend(actions);
    }
}

impl Bus {
    /// A worker was started.
    pub(super) fn join(&mut self, children: &Children, worker: WorkerId) {
        let Some(child) = children.get(&worker) else { return };
        let (slot, pool) = (child.slot.0, child.spec.pool().to_owned());
        let generation = child.generation;
        self.step(Event::Joined { worker, slot, generation, pool });
    }

    /// Tells a worker that it drains; it gets no more calls.
    pub(super) fn drain(&mut self, at: &mut Context<'_>, worker: WorkerId) {
        *at.stale = true;
        self.step(Event::Draining { worker });
    }

    /// Bytes on a worker's channel, or its end. `Some`: the state has to be written before the
    /// worker is answered (see [`Bus::go_on`]). What waits for the worker is to be written then.
    pub(super) fn take(
        &mut self,
        clients: &mut Clients,
        at: &mut Context<'_>,
        worker: WorkerId,
        ready: Readiness,
    ) -> Option<Greeting> {
        if ready.hangup {
            // Nothing can be written any more, and what is left is bounded by its socket.
            self.unpause(at, worker);
        }
        if ready.readable { self.read(clients, at, worker, 1) } else { None }
    }

    fn read(
        &mut self,
        clients: &mut Clients,
        at: &mut Context<'_>,
        worker: WorkerId,
        times: usize,
    ) -> Option<Greeting> {
        for left in (0..times).rev() {
            let channel = at.children.get_mut(&worker).and_then(Child::bus_mut)?;
            if channel.paused {
                return None;
            }
            if channel.decoder.codec().is_none()
                && let Some(bytes) = self.hear_hello(clients, at, worker)
            {
                return Some(Greeting { worker, bytes, left });
            }
            let channel = at.children.get_mut(&worker).and_then(Child::bus_mut)?;
            let end = match receive(channel.stream.as_fd(), &mut self.bytes) {
                Ok(Received::Some(count, fds)) => {
                    channel.fds.extend(fds);
                    channel.decoder.push(&self.bytes[..count]);
                    self.hear(clients, at, worker);
                    continue;
                }
                Ok(Received::Nothing) => return None,
                Ok(Received::End) => None,
                Err(error) => Some(error.to_string()),
            };
            self.close(at, worker, end);
            return None;
        }
        None
    }

    /// Hears what has come whole.
    fn hear(&mut self, clients: &mut Clients, at: &mut Context<'_>, worker: WorkerId) {
        loop {
            let now = clock::now();
            if let Err(error) = self.hear_some(at, worker, now) {
                return self.close(at, worker, Some(error));
            }
            if self.actions.is_empty() {
                return;
            }
            self.perform(clients, at);
        }
    }

    /// Hears messages until one has a consequence here.
    fn hear_some(
        &mut self,
        at: &mut Context<'_>,
        worker: WorkerId,
        now: Time,
    ) -> Result<(), String> {
        let Some(child) = at.children.get_mut(&worker) else { return Ok(()) };
        let Some(channel) = child.endpoints.get_mut::<BusChannel>() else { return Ok(()) };
        let mut actions = Vec::new();
        while actions.is_empty() && !channel.paused {
            let message = match channel.decoder.next_found().map_err(|error| error.to_string())? {
                None => break,
                Some(Found::Event(event)) => {
                    self.relay.emitted(now, worker, event, &mut actions);
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
                self.relay.give(worker, gift, &mut actions);
                continue;
            }
            *at.stale |= message.lasts();
            let spoke = Event::Spoke { worker, codec, message };
            self.relay.step(now, spoke, &mut actions);
        }
        self.actions.extend(actions);
        if !channel.paused && channel.fds.len() > UNCLAIMED {
            return Err(format!("it sent more than {UNCLAIMED} descriptors without a message"));
        }
        Ok(())
    }

    /// Does what the relay wants.
    fn perform(&mut self, clients: &mut Clients, at: &mut Context<'_>) {
        while let Some(action) = self.actions.pop_front() {
            match action {
                Action::Pause(worker) => pause(at, worker),
                Action::Resume(worker) => self.unpause(at, worker),
                Action::Cut { worker, why } => {
                    self.write(at, worker);
                    self.close(at, worker, Some(why));
                }
                Action::Ready(worker) => at.cue(worker, Cue::Notified(Notification::Ready)),
                Action::Leaving(worker) => at.cue(worker, Cue::Notified(Notification::Stopping)),
                Action::Heard { from, topic, data } => {
                    self.show_event(clients, at, from, &topic, &data);
                }
                Action::Answered { ticket, slot, answer } => {
                    self.take_answer(clients, at, ticket, slot, answer);
                }
                Action::Applied { worker, version, error } => {
                    self.take_applied(clients, at, worker, version, error);
                }
                Action::Warn(text) => at.warn(text),
            }
        }
    }

    fn unpause(&mut self, at: &mut Context<'_>, worker: WorkerId) {
        let Some(channel) = at.children.get_mut(&worker).and_then(Child::bus_mut) else { return };
        if std::mem::replace(&mut channel.paused, false) {
            self.resumed.push(worker);
            watch(at, worker);
        }
    }

    /// The end of a turn: what is overdue, and what waits to be written.
    pub(super) fn turn(&mut self, clients: &mut Clients, at: &mut Context<'_>) {
        self.answer_shared(clients, at);
        let mut actions = Vec::new();
        self.relay.follow(clients.has_followers());
        self.relay.turn(clock::now(), &mut actions);
        self.actions.extend(actions);
        self.perform(clients, at);
        // A resumed worker may be paused again and another resumed; each was heard by then.
        let most = at.children.len();
        for _ in 0..most {
            let Some(worker) = self.resumed.pop() else { break };
            self.hear(clients, at, worker);
        }
        self.write_to_all(at);
        self.perform(clients, at);
    }

    /// Whether the bus has work that no fd announces.
    pub(super) fn is_restless(&self) -> bool {
        !self.resumed.is_empty() || !self.actions.is_empty() || self.relay.is_dirty()
    }

    /// A worker has ended: what it said last is heard. `Some`: as in [`Bus::take`].
    pub(super) fn hear_last(
        &mut self,
        clients: &mut Clients,
        at: &mut Context<'_>,
        worker: WorkerId,
    ) -> Option<Greeting> {
        self.unpause(at, worker);
        self.read(clients, at, worker, LAST_READS)
    }

    /// A worker has ended, and was heard.
    pub(super) fn leave(&mut self, clients: &mut Clients, at: &mut Context<'_>, worker: WorkerId) {
        self.close(at, worker, None);
        self.forget_shared(clients, at, worker);
    }

    /// Ends a channel. `why`: the worker broke a rule; else it closed its end.
    fn close(&mut self, at: &mut Context<'_>, worker: WorkerId, why: Option<String>) {
        let Some(child) = at.children.get_mut(&worker) else { return };
        let Some(channel) = child.endpoints.take::<BusChannel>() else { return };
        *at.stale = true;
        let (slot, pid) = (child.slot, child.pid.0);
        at.poller.remove(channel.fd());
        if let Some(why) = why {
            at.warn(format!("slot {slot} (pid {pid}) was cut off from the bus: {why}"));
        }
        self.step(Event::Left { worker });
        self.loss_journal.forget(worker);
    }
}

fn pause(at: &mut Context<'_>, worker: WorkerId) {
    if let Some(channel) = at.children.get_mut(&worker).and_then(Child::bus_mut) {
        channel.paused = true;
    }
    watch(at, worker);
}

/// Has the poller wait for what the channel waits for.
fn watch(at: &mut Context<'_>, worker: WorkerId) {
    let Some(channel) = at.children.get(&worker).and_then(Child::bus) else { return };
    let token = Source::Endpoint(Contract::Native, worker).token();
    let (readable, writable) = (!channel.paused, channel.waits_for_room);
    if let Err(error) = at.poller.watch(channel.fd(), token, readable, writable) {
        at.warn(format!("cannot watch a worker's bus channel: {error}"));
    }
}
