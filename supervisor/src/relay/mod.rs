//! The bus between workers: which worker gets which message, decided without a clock, fd or task.
//!
//! Messages of workers go in ([`Event`], [`Gift`]); [`Action`]s and bytes to write
//! ([`Relay::flight`]) come out. The relay delivers every message at most once, and never to its
//! sender, so no message goes round in circles. Every queue is bounded (`limits`). The relay counts
//! what it drops, with the reason, and names the worker that caused it. It cuts off a worker that
//! breaks the rules, and no other worker notices.

mod calls;
mod descriptors;
mod frames;
mod limits;
mod loss;
mod member;
mod messages;
mod metrics;
mod publish;
mod queue;
mod snapshot;
mod subscribers;
mod table;
mod values;

#[cfg(test)]
mod sim;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ipc::bus::codec::Codec;
use ipc::bus::event::Origin;
use ipc::bus::{ErrorKind, FromWorker, Peer, ToWorker, WhenFull, agree};

pub(crate) use self::calls::Trigger;
pub(crate) use self::descriptors::Gift;
pub(crate) use self::limits::BUCKETS;
use self::limits::{ACTIONS, AT_ONCE, SERVED, SUBSCRIPTIONS};
pub(crate) use self::loss::Waiting;
use self::member::{Member, Serving};
pub(crate) use self::messages::{Action, Counts, Event, Failure, MemberStatus};
pub(crate) use self::metrics::{Key, Metrics, Series, Value};
use self::queue::Bytes;
pub(crate) use self::snapshot::RelaySnapshot;
use self::subscribers::Readers;
use self::table::Calls;
pub(crate) use self::values::Version;
use crate::base::ids::WorkerId;
use crate::base::per_generation::PerGeneration;
use crate::base::time::Time;

/// The sender that stands for a person on the command line.
const PERSON: WorkerId = WorkerId(0);

/// The relay.
#[derive(Debug)]
pub(crate) struct Relay {
    app: String,
    members: BTreeMap<WorkerId, Member>,
    topics: HashMap<Arc<str>, Readers>,
    /// The pools that had a worker, with the number of their workers now.
    pools: BTreeMap<String, usize>,
    calls: Calls,
    values: PerGeneration<Version>,
    /// Those that rest, and until when.
    resting: BTreeSet<(Time, WorkerId)>,
    /// The workers with something to write.
    dirty: BTreeSet<WorkerId>,
    /// A client follows the events.
    followed: bool,
    /// The members, as a successor reads them; `None`: they have changed.
    table: Option<snapshot::Text>,
    scratch: publish::Scratch,
    pub(crate) metrics: Metrics,
    pub(crate) counts: Counts,
}

impl Relay {
    pub(crate) fn new(app: String) -> Self {
        Self {
            app,
            members: BTreeMap::new(),
            topics: HashMap::new(),
            pools: BTreeMap::new(),
            calls: Calls::default(),
            values: PerGeneration::default(),
            resting: BTreeSet::new(),
            dirty: BTreeSet::new(),
            followed: false,
            table: None,
            scratch: publish::Scratch::default(),
            metrics: Metrics::default(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn step(&mut self, now: Time, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Joined { worker, slot, generation, pool } => {
                self.table = None;
                self.enter(&pool);
                let peer = Peer { worker: worker.0, slot, pool };
                self.members.insert(worker, Member::new(peer, generation, now));
            }
            Event::Spoke { worker, codec, message } => {
                let Some(member) = self.members.get_mut(&worker).filter(|m| !m.cut) else { return };
                member.said += 1;
                let again = member.resumed && is_hello(&message);
                member.resumed &= !again;
                if message.lasts() {
                    self.table = None;
                }
                if member.codec.is_none() || again {
                    self.greet(worker, codec, message, actions);
                } else {
                    self.hear(now, worker, message, actions);
                }
            }
            Event::Draining { worker } => {
                let Some(member) = self.members.get_mut(&worker) else { return };
                if !member.draining {
                    member.draining = true;
                    member.told_to_drain = true;
                    self.table = None;
                    self.tell(worker, &ToWorker::Drain {}, actions);
                }
            }
            Event::Left { worker } => self.leave(now, worker, actions),
        }
    }

    /// The first message of a worker.
    fn greet(
        &mut self,
        worker: WorkerId,
        codec: Codec,
        message: FromWorker,
        actions: &mut Vec<Action>,
    ) {
        let Some(member) = self.members.get_mut(&worker) else { return };
        member.codec = Some(codec);
        let FromWorker::Hello { oldest, newest, client, pool } = message else {
            return self.cut(worker, "its first message was not a hello".to_owned(), actions);
        };
        let version = match agree(oldest, newest) {
            Ok(version) => version,
            Err(why) => return self.cut(worker, why, actions),
        };
        member.client = client;
        member.told_values = 0;
        if !pool.is_empty() {
            let old = std::mem::replace(&mut member.peer.pool, pool.clone());
            member.origin = Arc::new(Origin::of(&member.peer));
            self.exit(&old);
            self.enter(&pool);
        }
        let Some(member) = self.members.get(&worker) else { return };
        let (you, draining) = (member.peer.clone(), member.draining);
        // Before the welcome, so that a worker that has joined has its values.
        self.tell_values(worker, actions);
        self.tell(worker, &ToWorker::Welcome { version, you, app: self.app.clone() }, actions);
        if draining {
            self.tell(worker, &ToWorker::Drain {}, actions);
        }
    }

    fn hear(
        &mut self,
        now: Time,
        worker: WorkerId,
        message: FromWorker,
        actions: &mut Vec<Action>,
    ) {
        match message {
            FromWorker::Hello { .. } => {
                self.cut(worker, "it said hello twice".to_owned(), actions);
            }
            FromWorker::Ready {} => actions.push(Action::Ready(worker)),
            FromWorker::Draining {} => {
                if let Some(member) = self.members.get_mut(&worker) {
                    member.draining = true;
                }
                actions.push(Action::Leaving(worker));
            }
            FromWorker::Emit { topic, data } => {
                self.emit(now, worker, None, &topic, data.text(), actions);
            }
            FromWorker::Send { slot, topic, data } => {
                self.emit(now, worker, Some(slot), &topic, data.text(), actions);
            }
            FromWorker::Subscribe { topic, when_full } => {
                self.subscribe(worker, topic, when_full, actions);
            }
            FromWorker::Unsubscribe { topic } => self.unsubscribe(worker, &topic),
            FromWorker::Call { id, pool, topic, data, timeout_ms, retry } => {
                let wanted = calls::Wanted { id, pool, topic, data, timeout_ms, retry };
                self.call(now, worker, wanted, actions);
            }
            FromWorker::Answer { id, data } => self.answer(now, worker, id, Ok(data), actions),
            FromWorker::Fail { id, message } => {
                let failure = Failure { kind: ErrorKind::Failed, message };
                self.answer(now, worker, id, Err(failure), actions);
            }
            FromWorker::Serve { topic, at_once } => {
                self.serve(now, worker, topic, at_once, actions);
            }
            FromWorker::Unserve { topic } => {
                if let Some(member) = self.members.get_mut(&worker) {
                    member.serves.remove(&topic);
                }
            }
            FromWorker::Metric { name, kind, value, unit, mut labels } => {
                let Some(slot) = self.members.get(&worker).map(|m| m.peer.slot) else { return };
                labels.sort();
                let refused = self.metrics.refused;
                let key = Key { name, labels, slot };
                if !self.metrics.push(key, kind, value, unit) && refused == 0 {
                    actions.push(Action::Warn(format!(
                        "{} pushes too many metrics, or one of another kind: they are refused (reported once)",
                        self.name(worker)
                    )));
                }
            }
            FromWorker::Applied { version, error } => {
                actions.push(Action::Applied { worker, version, error });
            }
            FromWorker::Action { name } => {
                let Some(member) = self.members.get_mut(&worker) else { return };
                member.actions.insert(name);
                if member.actions.len() > ACTIONS {
                    let why = format!("it registered more than {ACTIONS} actions");
                    self.cut(worker, why, actions);
                }
            }
            FromWorker::Ping { id } => self.tell(worker, &ToWorker::Pong { id }, actions),
            // A message with a descriptor comes by `give`.
            FromWorker::Pong { .. } | FromWorker::Give { .. } => {}
        }
    }

    fn subscribe(
        &mut self,
        worker: WorkerId,
        topic: String,
        when_full: WhenFull,
        actions: &mut Vec<Action>,
    ) {
        let Some(member) = self.members.get_mut(&worker) else { return };
        let full = member.subscribed.len() >= SUBSCRIPTIONS;
        if full && !member.subscribed.contains_key(topic.as_str()) {
            let why = format!("it subscribed to more than {SUBSCRIPTIONS} topics");
            return self.cut(worker, why, actions);
        }
        let topic = subscribers::add(&mut self.topics, &topic, worker, when_full);
        member.subscribed.insert(topic, when_full);
    }

    fn unsubscribe(&mut self, worker: WorkerId, topic: &str) {
        let Some(member) = self.members.get_mut(&worker) else { return };
        member.subscribed.remove(topic);
        subscribers::remove(&mut self.topics, topic, worker);
    }

    fn serve(
        &mut self,
        now: Time,
        worker: WorkerId,
        topic: String,
        at_once: u16,
        actions: &mut Vec<Action>,
    ) {
        let Some(member) = self.members.get_mut(&worker) else { return };
        let busy = member.works_on.values().filter(|of| of.as_ref() == Some(&topic)).count();
        let serving = Serving {
            at_once: at_once.clamp(1, AT_ONCE),
            busy: u16::try_from(busy).unwrap_or(u16::MAX),
        };
        member.serves.insert(topic.clone(), serving);
        if member.serves.len() > SERVED {
            let why = format!("it serves more than {SERVED} topics");
            return self.cut(worker, why, actions);
        }
        let pool = member.peer.pool.clone();
        self.dispatch(now, &pool, &topic, actions);
    }

    fn leave(&mut self, now: Time, worker: WorkerId, actions: &mut Vec<Action>) {
        let Some(mut member) = self.members.remove(&worker) else { return };
        self.dirty.remove(&worker);
        self.table = None;
        for topic in member.subscribed.keys() {
            subscribers::remove(&mut self.topics, topic, worker);
        }
        self.counts.dropped_gone += u64::try_from(member.queue.len()).unwrap_or(u64::MAX);
        let holds = std::mem::take(&mut member.holds);
        self.let_go(holds, actions);
        for other in self.members.values_mut() {
            other.holds.remove(&worker);
        }
        self.metrics.worker_gone(member.peer.slot);
        self.exit(&member.peer.pool);
        self.caller_left(&member);
        self.server_left(now, worker, &member, actions);
    }

    fn enter(&mut self, pool: &str) {
        *self.pools.entry(pool.to_owned()).or_default() += 1;
        if self.pools.len() > limits::POOLS {
            let empty = self.pools.iter().find(|(_, members)| **members == 0);
            if let Some(empty) = empty.map(|(name, _)| name.clone()) {
                self.pools.remove(&empty);
            }
        }
    }

    fn exit(&mut self, pool: &str) {
        if let Some(members) = self.pools.get_mut(pool) {
            *members = members.saturating_sub(1);
        }
    }

    /// Cuts off a worker that broke the rules.
    fn cut(&mut self, worker: WorkerId, why: String, actions: &mut Vec<Action>) {
        let Some(member) = self.members.get_mut(&worker).filter(|member| !member.cut) else {
            return;
        };
        member.cut = true;
        self.table = None;
        self.counts.cut += 1;
        let frame = encode(member.codec, &ToWorker::Refused { reason: why.clone() });
        if let Some(frame) = frame {
            // If the queue is full, the worker does not learn the reason, but it does not read
            // anyway.
            let _ = member.queue.own(frame);
        }
        actions.push(Action::Cut { worker, why });
    }

    /// Sends a message that must not be dropped.
    fn tell(&mut self, worker: WorkerId, message: &ToWorker, actions: &mut Vec<Action>) {
        let Some(member) = self.members.get_mut(&worker).filter(|member| !member.cut) else {
            return;
        };
        let Some(frame) = encode(member.codec, message) else { return };
        member.heard += 1;
        self.dirty.insert(worker);
        if !member.queue.own(frame) {
            let why = "it does not read: too many answers wait for it".to_owned();
            self.cut(worker, why, actions);
        }
    }

    /// The name of a worker, for people.
    fn name(&self, worker: WorkerId) -> String {
        match self.members.get(&worker) {
            Some(member) => format!("slot {} (worker {worker})", member.peer.slot),
            None if worker == PERSON => "the command line".to_owned(),
            None => format!("worker {worker}"),
        }
    }
}

fn is_hello(message: &FromWorker) -> bool {
    matches!(message, FromWorker::Hello { .. })
}

/// Encodes a message for one worker; `None` before its hello.
fn encode(codec: Option<Codec>, message: &ToWorker) -> Option<Bytes> {
    let mut bytes = Vec::with_capacity(128);
    codec?.write(message, &mut bytes).ok()?;
    Some(Arc::from(bytes))
}
