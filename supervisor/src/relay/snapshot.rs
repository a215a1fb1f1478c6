//! What a successor needs of the relay to go on with the workers on it: the workers, what they
//! read, serve and let people trigger, and what the relay counted.
//!
//! The snapshot does not contain waiting messages, calls without an answer, or which worker waits
//! for which: a primary that dies loses these. Reading it never fails.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ipc::bus::codec::Codec;
use ipc::bus::{Peer, ToWorker, WhenFull};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::limits::SERIES_KEPT;
use super::member::{Member, Serving};
use super::subscribers;
use crate::base::ids::{Generation, WorkerId};
use crate::base::per_generation::PerGeneration;
use crate::base::time::Time;
use crate::relay::{Action, Counts, Key, Relay, Series, Version};
use crate::snapshot::NUMBERS_LEFT_OUT;

/// See the module. A later version leaves out what it cannot read.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RelaySnapshot {
    table: Option<Text>,
    series: Option<Box<RawValue>>,
    next_call: u64,
    counts: Counts,
}

/// JSON that is written without a copy.
#[derive(Debug, Clone)]
pub(super) struct Text(Arc<RawValue>);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|text| Self(text.into()))
    }
}

/// The members; kept as text until they change.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Table<'a> {
    members: Vec<MemberSnapshot<'a>>,
    pools: BTreeSet<Cow<'a, str>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct MemberSnapshot<'a> {
    peer: Peer,
    /// `None`: a build wrote it that had no values by generation.
    generation: Option<Generation>,
    frames: bool,
    client: String,
    subscribed: BTreeMap<Cow<'a, str>, WhenFull>,
    serves: BTreeMap<String, u16>,
    actions: BTreeSet<String>,
    draining: bool,
    told_to_drain: bool,
}

impl<'a> MemberSnapshot<'a> {
    fn of(member: &'a Member) -> Option<Self> {
        let codec = member.codec.filter(|_| !member.cut)?;
        let serves = member.serves.iter().map(|(topic, serving)| (topic.clone(), serving.at_once));
        Some(Self {
            peer: member.peer.clone(),
            generation: Some(member.generation),
            frames: codec == Codec::Frames,
            client: member.client.clone(),
            subscribed: member
                .subscribed
                .iter()
                .map(|(t, when)| (Cow::from(&**t), *when))
                .collect(),
            serves: serves.collect(),
            actions: member.actions.clone(),
            draining: member.draining,
            told_to_drain: member.told_to_drain,
        })
    }

    /// `subscribed`: its topics, with the names that the relay shares.
    fn restore(self, subscribed: HashMap<Arc<str>, WhenFull>, now: Time) -> Member {
        let codec = if self.frames { Codec::Frames } else { Codec::Lines };
        let serves = self.serves.into_iter();
        Member {
            codec: Some(codec),
            client: self.client,
            subscribed,
            serves: serves.map(|(topic, at_once)| (topic, Serving { at_once, busy: 0 })).collect(),
            actions: self.actions,
            draining: self.draining,
            told_to_drain: self.told_to_drain,
            resumed: true,
            ..Member::new(self.peer, self.generation.unwrap_or(Generation(0)), now)
        }
    }
}

impl Relay {
    /// What a successor needs.
    pub(crate) fn snapshot(&mut self) -> RelaySnapshot {
        if self.table.is_none() {
            let members = self.members.values().filter_map(MemberSnapshot::of).collect();
            let table = Table { members, pools: self.pools.keys().map(Cow::from).collect() };
            self.table = to_raw_value(&table).ok().map(|text| Text(text.into()));
        }
        let series: Vec<(&Key, &Series)> = self.metrics.all().take(SERIES_KEPT + 1).collect();
        let are_kept = !series.is_empty() && series.len() <= SERIES_KEPT;
        RelaySnapshot {
            table: self.table.clone(),
            series: are_kept.then(|| to_raw_value(&series).ok()).flatten(),
            next_call: self.calls.next,
            counts: self.counts,
        }
    }

    /// One that goes on where another ended.
    pub(crate) fn restore(
        app: String,
        snapshot: RelaySnapshot,
        values: PerGeneration<Version>,
        now: Time,
    ) -> Self {
        let mut relay = Self::new(app);
        let table: Table<'_> = read(snapshot.table.as_ref().map(|text| &*text.0));
        relay.pools = table.pools.into_iter().map(|pool| (pool.into_owned(), 0)).collect();
        for member in table.members {
            let worker = WorkerId(member.peer.worker);
            relay.enter(&member.peer.pool);
            let topics = member.subscribed.iter().map(|(topic, when_full)| {
                (subscribers::add(&mut relay.topics, topic, worker, *when_full), *when_full)
            });
            let subscribed = topics.collect();
            relay.members.insert(worker, member.restore(subscribed, now));
        }
        let series: Vec<(Key, Series)> = read(snapshot.series.as_deref());
        series.into_iter().for_each(|(key, series)| relay.metrics.put_back(key, series));
        relay.calls.next = snapshot.next_call.saturating_add(NUMBERS_LEFT_OUT);
        relay.counts = snapshot.counts;
        relay.values = values;
        relay
    }

    /// The codec of a worker. `None`: it is not on the bus.
    pub(crate) fn codec(&self, worker: WorkerId) -> Option<Codec> {
        self.members.get(&worker).and_then(|member| member.codec)
    }

    /// Tells every worker that what was under way is lost, and repeats what it may not have
    /// received. `applied`: the number of the values that a worker is known to have.
    pub(crate) fn resume(
        &mut self,
        applied: impl Fn(WorkerId) -> Option<u64>,
        actions: &mut Vec<Action>,
    ) {
        let all: Vec<(WorkerId, bool)> =
            self.members.iter().map(|(worker, m)| (*worker, m.told_to_drain)).collect();
        for (worker, drains) in all {
            self.tell(worker, &ToWorker::Resumed {}, actions);
            if let Some(number) = applied(worker)
                && let Some(member) = self.members.get_mut(&worker)
            {
                member.told_values = number;
            }
            self.tell_values(worker, actions);
            if drains {
                self.tell(worker, &ToWorker::Drain {}, actions);
            }
        }
    }
}

fn read<T: Default + for<'a> Deserialize<'a>>(text: Option<&RawValue>) -> T {
    text.and_then(|text| serde_json::from_str(text.get()).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use ipc::bus::decode::Decoder;
    use ipc::bus::{FromWorker, Json, MetricKind};

    use super::*;
    use crate::relay::Event;

    const A: WorkerId = WorkerId(1);
    const B: WorkerId = WorkerId(2);
    const NOW: Time = Time(5);

    fn said(relay: &mut Relay, worker: WorkerId, message: FromWorker) -> Vec<Action> {
        let (mut actions, codec) =
            (Vec::new(), if worker == A { Codec::Frames } else { Codec::Lines });
        relay.step(NOW, Event::Spoke { worker, codec, message }, &mut actions);
        actions
    }

    fn hello() -> FromWorker {
        let (client, pool) = ("fake".to_owned(), "p".to_owned());
        FromWorker::Hello { oldest: 1, newest: 1, client, pool }
    }

    fn heard(relay: &mut Relay, worker: WorkerId) -> Vec<ToWorker> {
        let bytes = relay.flight(worker).0.concat();
        relay.wrote(NOW, worker, bytes.len(), &mut Vec::new());
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        std::iter::from_fn(|| decoder.next_message().unwrap()).collect()
    }

    fn values() -> PerGeneration<Version> {
        let serving = Version { number: 3, data: Json::default() };
        PerGeneration { serving, coming: None }
    }

    fn joined(worker: WorkerId, slot: u16) -> Event {
        Event::Joined { worker, slot, generation: Generation(1), pool: "default".to_owned() }
    }

    fn topic() -> String {
        "t".to_owned()
    }

    /// Two members: B serves a topic and reads it, and works on a call of A.
    fn busy() -> Relay {
        let mut relay = Relay::new("app".to_owned());
        relay.configure(values(), &mut Vec::new());
        for (worker, slot) in [(A, 0), (B, 1)] {
            relay.step(NOW, joined(worker, slot), &mut Vec::new());
            said(&mut relay, worker, hello());
        }
        said(&mut relay, B, FromWorker::Serve { topic: topic(), at_once: 1 });
        said(&mut relay, B, FromWorker::Subscribe { topic: topic(), when_full: WhenFull::Wait });
        said(&mut relay, B, FromWorker::Action { name: "gc".to_owned() });
        let metric = FromWorker::Metric {
            name: "hits".to_owned(),
            kind: MetricKind::Counter,
            value: 4.0,
            unit: String::new(),
            labels: Vec::new(),
        };
        said(&mut relay, A, metric);
        call(&mut relay);
        relay.step(NOW, Event::Draining { worker: A }, &mut Vec::new());
        for worker in [A, B] {
            heard(&mut relay, worker);
        }
        relay
    }

    fn call(relay: &mut Relay) {
        let (pool, data) = (String::new(), Json::default());
        let call =
            FromWorker::Call { id: 7, pool, topic: topic(), data, timeout_ms: 9, retry: false };
        assert_eq!(said(relay, A, call), []);
    }

    fn restored(relay: &mut Relay) -> Relay {
        let text = serde_json::to_string(&relay.snapshot()).unwrap();
        let snapshot = serde_json::from_str(&text).unwrap();
        Relay::restore("app".to_owned(), snapshot, relay.values.clone(), NOW)
    }

    #[test]
    fn a_successor_knows_the_members_and_tells_them_that_calls_are_lost() {
        let mut before = busy();
        let mut relay = restored(&mut before);
        let mut actions = Vec::new();
        relay.resume(|worker| (worker == A).then_some(3), &mut actions);
        assert_eq!(heard(&mut relay, A), [ToWorker::Resumed {}, ToWorker::Drain {}]);
        let config = ToWorker::Config { version: 3, data: Json::default() };
        assert_eq!(heard(&mut relay, B), [ToWorker::Resumed {}, config]);
        // An answer to an unknown call is no violation, and its caller may use the number again.
        assert_eq!(said(&mut relay, B, FromWorker::Answer { id: 1, data: Json::default() }), []);
        assert_eq!((relay.counts.late, relay.counts.calls), (1, 1));
        call(&mut relay);
        let [ToWorker::Call { id, .. }] = heard(&mut relay, B)[..] else { panic!("no call") };
        assert!(id > NUMBERS_LEFT_OUT);
        said(&mut relay, B, FromWorker::Answer { id, data: Json::default() });
        assert_eq!(heard(&mut relay, A), [ToWorker::Answer { id: 7, data: Json::default() }]);
        assert_eq!(relay.say(NOW, None, "t", &Json::default(), &mut actions), 1);
        assert!(relay.actions().contains("gc") && actions.is_empty());
        assert_eq!(relay.metrics.all().count(), 1);
        assert_eq!(relay.topics["t"].all(), [(B, WhenFull::Wait)]);
    }

    #[test]
    fn a_generation_has_its_values() {
        let mut relay = busy();
        let coming = Some((Generation(2), Version { number: 4, data: Json::default() }));
        relay.configure(PerGeneration { coming, ..values() }, &mut Vec::new());
        let c = WorkerId(3);
        let newer = Event::Joined { worker: c, slot: 0, generation: Generation(2), pool: topic() };
        relay.step(NOW, newer, &mut Vec::new());
        said(&mut relay, c, hello());
        let [ToWorker::Config { version: 4, .. }, ToWorker::Welcome { .. }] =
            heard(&mut relay, c)[..]
        else {
            panic!("the worker got no welcome")
        };
        assert_eq!((heard(&mut relay, A), heard(&mut relay, B)), (vec![], vec![]));
        // They hold, now or when another primary goes on: told is who has others.
        let serving = Version { number: 4, data: Json::default() };
        let relays = [restored(&mut relay), relay];
        for mut relay in relays {
            relay.resume(|worker| Some(if worker == c { 4 } else { 3 }), &mut Vec::new());
            let values = PerGeneration { serving: serving.clone(), coming: None };
            relay.configure(values, &mut Vec::new());
            let config = |said: &ToWorker| matches!(said, ToWorker::Config { version: 4, .. });
            let told = [A, B, c].map(|worker| heard(&mut relay, worker).iter().any(config));
            assert_eq!(told, [true, true, false]);
        }
    }

    #[test]
    fn a_worker_may_send_hello_once_more() {
        let mut relay = restored(&mut busy());
        assert_eq!(said(&mut relay, A, hello()), []);
        let [ToWorker::Config { version: 3, .. }, ToWorker::Welcome { .. }, ..] =
            heard(&mut relay, A)[..]
        else {
            panic!("the worker got no welcome")
        };
        assert_eq!(relay.pools["p"], 2);
        assert!(matches!(said(&mut relay, A, hello())[..], [Action::Cut { .. }]));
    }

    #[test]
    fn a_snapshot_keeps_nothing_of_workers_that_left_or_never_joined() {
        let mut relay = busy();
        relay.step(NOW, Event::Left { worker: B }, &mut Vec::new());
        relay.step(NOW, joined(B, 1), &mut Vec::new());
        let relay = restored(&mut relay);
        assert_eq!(relay.members.keys().collect::<Vec<_>>(), [&A]);
        assert!(relay.topics.is_empty());
        assert_eq!(relay.pools, BTreeMap::from([("default".to_owned(), 0), ("p".to_owned(), 1)]));
    }

    #[test]
    fn unreadable_parts_are_left_out() {
        let odd = r#"{"table":[1],"series":{"x":2},"next_call":1,"counts":{"cut":2,"new":1}}"#;
        let relay = Relay::restore(
            "app".to_owned(),
            serde_json::from_str(odd).unwrap(),
            PerGeneration::default(),
            NOW,
        );
        assert!(relay.members.is_empty() && relay.counts.cut == 2);
    }
}
