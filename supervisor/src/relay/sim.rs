//! Random workers on one relay, and the laws that hold whatever they do.

use std::time::Duration;

use ipc::bus::Json;
use ipc::bus::decode::Decoder;

use super::limits::{CALL_BYTES, PER_WORKER, REST, STALL};

use super::*;
use crate::base::ids::Generation;

const TOPICS: [&str; 4] = ["a", "b", "c", "d"];

/// The knowledge of one fake worker.
#[derive(Debug)]
struct Fake {
    decoder: Decoder<ToWorker>,
    codec: Codec,
    paused: bool,
    /// It never reads.
    deaf: bool,
    /// Its calls without an answer, with their deadlines.
    calls: BTreeMap<u64, Time>,
    next_call: u64,
    /// The calls that it must answer.
    todo: Vec<u64>,
    /// The last number it got from each sender, by topic.
    last: BTreeMap<(u64, String), u64>,
    got: u64,
    dropped: u64,
}

#[derive(Debug)]
struct World {
    relay: Relay,
    fakes: BTreeMap<WorkerId, Fake>,
    now: Time,
    next: u64,
    number: u64,
    dice: u64,
    actions: Vec<Action>,
    warnings: Vec<String>,
    replies: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            relay: Relay::new("sim".to_owned()),
            fakes: BTreeMap::new(),
            now: Time(1_000_000),
            next: 0,
            number: 0,
            dice: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            actions: Vec::new(),
            warnings: Vec::new(),
            replies: 0,
        }
    }

    /// xorshift64.
    fn roll(&mut self, sides: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) % sides
    }

    fn join(&mut self, codec: Codec, pool: &str) -> WorkerId {
        self.next += 1;
        let worker = WorkerId(self.next);
        let slot = u16::try_from(self.next % 4).unwrap();
        let (generation, pool) = (Generation(1), pool.to_owned());
        let joined = Event::Joined { worker, slot, generation, pool };
        self.relay.step(self.now, joined, &mut self.actions);
        let fake = Fake {
            decoder: Decoder::default(),
            codec,
            paused: false,
            deaf: false,
            calls: BTreeMap::new(),
            next_call: 0,
            todo: Vec::new(),
            last: BTreeMap::new(),
            got: 0,
            dropped: 0,
        };
        self.fakes.insert(worker, fake);
        let (client, pool) = ("fake".to_owned(), String::new());
        self.say(worker, FromWorker::Hello { oldest: 1, newest: 1, client, pool });
        worker
    }

    fn say(&mut self, worker: WorkerId, message: FromWorker) {
        let Some(fake) = self.fakes.get(&worker) else { return };
        let codec = fake.codec;
        self.relay.step(self.now, Event::Spoke { worker, codec, message }, &mut self.actions);
        self.settle();
    }

    fn leave(&mut self, worker: WorkerId) {
        self.fakes.remove(&worker);
        self.relay.step(self.now, Event::Left { worker }, &mut self.actions);
        self.settle();
    }

    fn settle(&mut self) {
        while !self.actions.is_empty() {
            for action in std::mem::take(&mut self.actions) {
                match action {
                    Action::Pause(worker) => self.fakes.get_mut(&worker).unwrap().paused = true,
                    Action::Resume(worker) => self.fakes.get_mut(&worker).unwrap().paused = false,
                    Action::Cut { worker, .. } => self.leave(worker),
                    Action::Warn(text) => self.warnings.push(text),
                    _ => {}
                }
            }
        }
    }

    fn read(&mut self, worker: WorkerId, most: usize) {
        let bytes: Vec<u8> = self.relay.flight(worker).0.concat().into_iter().take(most).collect();
        let Some(fake) = self.fakes.get_mut(&worker) else { return };
        fake.decoder.push(&bytes);
        while let Some(message) = fake.decoder.next_message().expect("the relay speaks well") {
            match message {
                ToWorker::Event { topic, data, from } => {
                    assert_ne!(from.worker, worker.0, "a message came back to its sender");
                    let number: u64 = data.read::<(u64, String)>().unwrap().0;
                    let last = fake.last.insert((from.worker, topic), number);
                    assert!(
                        last.is_none_or(|last| last < number),
                        "a message came twice, or out of order"
                    );
                    fake.got += 1;
                }
                ToWorker::Call { id, .. } => fake.todo.push(id),
                ToWorker::Answer { id, .. } | ToWorker::Error { id, .. } => {
                    self.replies += 1;
                    assert!(fake.calls.remove(&id).is_some(), "a second answer");
                }
                ToWorker::Dropped { count } => {
                    assert!(count > fake.dropped);
                    fake.dropped = count;
                }
                _ => {}
            }
        }
        self.relay.wrote(self.now, worker, bytes.len(), &mut self.actions);
        self.settle();
    }

    fn emit(&mut self, worker: WorkerId, topic: &str, size: usize) {
        self.number += 1;
        let data = Json::of(&(self.number, "x".repeat(size))).unwrap();
        self.say(worker, FromWorker::Emit { topic: topic.to_owned(), data });
    }

    fn call(&mut self, worker: WorkerId, topic: &str, retry: bool, timeout_ms: u32) {
        let Some(fake) = self.fakes.get_mut(&worker) else { return };
        fake.next_call += 1;
        let id = fake.next_call;
        fake.calls.insert(id, self.now + Duration::from_millis(timeout_ms.into()));
        let (pool, topic, data) = ("p".to_owned(), topic.to_owned(), Json::default());
        self.say(worker, FromWorker::Call { id, pool, topic, data, timeout_ms, retry });
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.relay.turn(self.now, &mut self.actions);
        self.settle();
    }

    fn laws(&self) {
        for (worker, member) in &self.relay.members {
            assert!(member.queue.held() <= PER_WORKER, "{worker} makes us hold too much");
            let fake = &self.fakes[worker];
            assert_eq!(fake.paused, member.held_by > 0, "{worker}");
            let holders = self.relay.members.values().filter(|m| m.holds.contains(worker));
            assert_eq!(holders.count() + usize::from(member.rests.is_some()), member.held_by);
        }
        assert!(self.relay.calls.held() <= CALL_BYTES);
        assert!(self.relay.deadline().is_none_or(|at| at > self.now), "a deadline has passed");
    }

    fn random_step(&mut self) {
        let workers: Vec<WorkerId> = self.fakes.keys().copied().collect();
        let Some(worker) = workers.get(usize::try_from(self.roll(8)).unwrap()).copied() else {
            let codec = if self.roll(2) == 0 { Codec::Frames } else { Codec::Lines };
            self.join(codec, "p");
            return;
        };
        let topic = TOPICS[usize::try_from(self.roll(4)).unwrap()];
        match self.roll(20) {
            0..=4 if !self.fakes[&worker].paused => {
                let size = [0, 64, 5_000, 250_000][usize::try_from(self.roll(4)).unwrap()];
                self.emit(worker, topic, size);
            }
            5 => {
                let when_full = [WhenFull::DropOldest, WhenFull::Wait][self.roll(2) as usize];
                let topic = topic.to_owned();
                self.say(worker, FromWorker::Subscribe { topic, when_full });
            }
            6 if self.roll(4) == 0 => {
                self.say(worker, FromWorker::Unsubscribe { topic: topic.to_owned() });
            }
            7 => {
                let at_once = u16::try_from(self.roll(3)).unwrap();
                self.say(worker, FromWorker::Serve { topic: topic.to_owned(), at_once });
            }
            8..=10 if !self.fakes[&worker].paused => {
                let (retry, timeout) = (self.roll(2) == 0, 1 + self.roll(3000));
                self.call(worker, topic, retry, u32::try_from(timeout).unwrap());
            }
            11..=13 => {
                let todo = self.fakes.get_mut(&worker).and_then(|fake| fake.todo.pop());
                if let Some(id) = todo {
                    self.say(worker, FromWorker::Answer { id, data: Json::default() });
                }
            }
            14 => self.pass(Duration::from_millis(self.dice % 700)),
            15 if self.roll(30) == 0 => self.leave(worker),
            16 if self.roll(30) == 0 => self.fakes.get_mut(&worker).unwrap().deaf = true,
            17 if self.roll(60) == 0 => {
                self.relay.step(self.now, Event::Draining { worker }, &mut self.actions);
                self.settle();
            }
            _ => {
                if !self.fakes[&worker].deaf {
                    let most = 1 + usize::try_from(self.roll(200_000)).unwrap();
                    self.read(worker, most);
                }
            }
        }
    }

    /// Lets every worker read everything.
    fn read_all(&mut self) {
        loop {
            let more: Vec<WorkerId> =
                self.fakes.keys().copied().filter(|worker| self.relay.has_more(*worker)).collect();
            if more.is_empty() {
                return;
            }
            for worker in more {
                self.read(worker, usize::MAX);
            }
        }
    }
}

#[test]
fn whatever_workers_do_the_laws_hold() {
    random_lives(1..=1);
}

#[test]
fn heavy_whatever_workers_do_the_laws_hold() {
    random_lives(2..=8);
}

fn random_lives(seeds: std::ops::RangeInclusive<u64>) {
    for seed in seeds {
        let mut world = World::new(seed);
        for _ in 0..800 {
            world.random_step();
            world.laws();
        }
        // After the last deadline every call has its answer, and no worker waits for another.
        world.pass(Duration::from_secs(4));
        world.read_all();
        world.pass(STALL);
        world.laws();
        for fake in world.fakes.values() {
            assert!(fake.calls.is_empty(), "calls without an answer: {:?}", fake.calls);
            assert!(!fake.paused);
        }
        let (held, all) = (world.relay.calls.held(), world.relay.counts);
        assert!(held == 0 && all.delivered > 0 && world.replies > 0, "{all:?}");
    }
}

fn subscribe(world: &mut World, worker: WorkerId, topic: &str, when_full: WhenFull) {
    world.say(worker, FromWorker::Subscribe { topic: topic.to_owned(), when_full });
}

#[test]
fn a_deaf_reader_costs_its_own_messages_and_is_named() {
    let mut world = World::new(1);
    let (loud, deaf) = (world.join(Codec::Frames, "p"), world.join(Codec::Frames, "p"));
    let good = world.join(Codec::Lines, "p");
    for reader in [deaf, good] {
        subscribe(&mut world, reader, "a", WhenFull::DropOldest);
    }
    for _ in 0..200 {
        if world.fakes[&loud].paused {
            world.pass(REST * 2);
        }
        assert!(!world.fakes[&loud].paused, "it has rested");
        world.emit(loud, "a", 100_000);
        world.read(good, usize::MAX);
        world.laws();
    }
    assert_eq!(world.fakes[&good].got, 200);
    let lost = world.relay.counts.dropped_full;
    assert!(lost > 100 && world.warnings.len() <= 3, "{lost} {:?}", world.warnings);
    assert!(world.warnings[0].starts_with("slot 2 (worker 2) reads more slowly"));
    assert!(world.warnings[0].ends_with("from slot 1 (worker 1)"));
    world.read_all();
    assert_eq!(world.fakes[&deaf].got, 200 - lost);
    assert_eq!(world.fakes[&deaf].dropped, lost);
    assert!(world.relay.members().all(|member| member.waiting == 0));
}

#[test]
fn back_pressure_ends() {
    let mut world = World::new(1);
    let (writer, reader) = (world.join(Codec::Frames, "p"), world.join(Codec::Frames, "p"));
    subscribe(&mut world, reader, "a", WhenFull::Wait);
    while !world.fakes[&writer].paused {
        world.emit(writer, "a", 100_000);
    }
    assert_eq!(world.relay.counts.dropped_full, 0);
    for _ in 0..100 {
        world.read(reader, 300_000);
    }
    assert!(!world.fakes[&writer].paused && world.fakes[&reader].got > 30);
    while !world.fakes[&writer].paused {
        world.emit(writer, "a", 100_000);
    }
    let deadline = world.relay.deadline().unwrap();
    assert_eq!(deadline, world.now + STALL);
    world.pass(STALL);
    assert!(!world.fakes[&writer].paused);
    assert!(world.warnings[0].contains("made others wait"), "{:?}", world.warnings);
}

#[test]
fn calls_wait_for_a_worker_and_survive_its_death_if_asked() {
    let mut world = World::new(1);
    let (caller, first) = (world.join(Codec::Frames, "p"), world.join(Codec::Frames, "p"));
    world.call(caller, "a", true, 1000);
    world.call(caller, "a", false, 1000);
    world.say(first, FromWorker::Serve { topic: "a".to_owned(), at_once: 1 });
    world.read(first, usize::MAX);
    assert_eq!(world.fakes[&first].todo, [1]);
    world.leave(first);
    let second = world.join(Codec::Lines, "p");
    world.say(second, FromWorker::Serve { topic: "a".to_owned(), at_once: 1 });
    world.read(second, usize::MAX);
    assert_eq!(world.fakes[&second].todo, [1]);
    world.say(second, FromWorker::Answer { id: 1, data: Json::default() });
    world.read(second, usize::MAX);
    assert_eq!(world.fakes[&second].todo, [1, 2]);
    world.leave(second);
    world.read(caller, usize::MAX);
    assert!(world.fakes[&caller].calls.is_empty());
    let counts = world.relay.counts;
    assert_eq!((counts.answered, counts.died, counts.retried), (1, 1, 1));
}

#[test]
fn rules() {
    let mut world = World::new(1);
    let worker = world.join(Codec::Lines, "p");
    let (pool, topic, data) = ("nope".to_owned(), "a".to_owned(), Json::default());
    let call = FromWorker::Call { id: 1, pool, topic, data, timeout_ms: 5, retry: false };
    world.fakes.get_mut(&worker).unwrap().calls.insert(1, world.now);
    world.say(worker, call);
    world.read(worker, usize::MAX);
    assert_eq!(world.relay.counts.failed, 1);
    for number in 0..10_001 {
        subscribe(&mut world, worker, &format!("t{number}"), WhenFull::DropOldest);
    }
    assert!(world.fakes.is_empty() && world.relay.topics.is_empty());
    let worker = world.join(Codec::Frames, "p");
    for id in 0..3_000_000 {
        world.say(worker, FromWorker::Ping { id });
        if world.fakes.is_empty() {
            break;
        }
    }
    assert_eq!(world.relay.counts.cut, 2);
}

#[test]
fn people_trigger_actions_and_emit_events() {
    let mut world = World::new(1);
    let worker = world.join(Codec::Frames, "p");
    world.say(worker, FromWorker::Action { name: "gc".to_owned() });
    let now = world.now;
    let relay = &mut world.relay;
    let span = Duration::from_secs(1);
    let (slot, data, action) = (None, Json::default(), "gc".to_owned());
    let gc = Trigger { ticket: 7, action, slot, data, timeout: span };
    let no = Trigger { action: "no".to_owned(), ..gc.clone() };
    let mut actions = Vec::new();
    assert_eq!(relay.trigger(now, &no, &mut actions), 0);
    assert_eq!(relay.trigger(now, &gc, &mut actions), 1);
    assert_eq!(relay.say(now, Some(1), "t", &Json::of(&(1, "")).unwrap(), &mut actions), 1);
    assert!(actions.is_empty() && relay.actions().contains("gc"));
    relay.turn(now + span, &mut actions);
    let [Action::Answered { ticket: 7, slot: 1, answer: Err(failure) }] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    assert_eq!(failure.message, "slot 1 (worker 1) did not answer within 1000 ms");
    let serving = Version { number: 3, data: gc.data };
    relay.configure(PerGeneration { serving, coming: None }, &mut actions);
    world.read(worker, usize::MAX);
    assert_eq!(world.fakes[&worker].got, 1);
}
