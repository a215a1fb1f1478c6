//! One worker on the bus, as the relay knows it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ipc::bus::codec::Codec;
use ipc::bus::event::Origin;
use ipc::bus::{Peer, WhenFull};

use super::queue::Queue;
use crate::base::ids::{Generation, WorkerId};
use crate::base::time::Time;

/// How many calls of a topic a worker takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Serving {
    pub(crate) at_once: u16,
    pub(crate) busy: u16,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) peer: Peer,
    pub(crate) generation: Generation,
    /// The number of the values that it was told; 0: none.
    pub(crate) told_values: u64,
    /// The same as its events have it.
    pub(crate) origin: Arc<Origin>,
    /// How to write to the worker; `None` until its hello.
    pub(crate) codec: Option<Codec>,
    pub(crate) client: String,
    pub(crate) queue: Queue,
    /// The worker is in the set of workers with something to write.
    pub(crate) dirty: bool,
    pub(crate) subscribed: HashMap<Arc<str>, WhenFull>,
    pub(crate) serves: BTreeMap<String, Serving>,
    pub(crate) actions: BTreeSet<String>,
    /// Calls that it was given and has not answered, with their topic; a trigger has none. They
    /// include calls whose caller no longer waits.
    pub(crate) works_on: BTreeMap<u64, Option<String>>,
    /// The calls that it made, by its own numbers.
    pub(crate) calls: BTreeMap<u64, u64>,
    /// It takes no new calls.
    pub(crate) draining: bool,
    /// The primary told it to drain; otherwise it announced that by itself.
    pub(crate) told_to_drain: bool,
    /// It joined under another primary, and may say hello once more.
    pub(crate) resumed: bool,
    /// It was told that it is cut off. Its messages no longer count.
    pub(crate) cut: bool,
    /// The senders that wait until it has read.
    pub(crate) holds: BTreeSet<WorkerId>,
    /// How many readers make it wait; its own rest counts as one.
    pub(crate) held_by: usize,
    /// It wrote more than its readers read, and rests until this time.
    pub(crate) rests: Option<Time>,
    /// Bytes of its messages that were dropped since it last rested.
    pub(crate) wasted: usize,
    /// When it last read anything, or when the first sender began to wait for it.
    pub(crate) progress: Time,
    /// It made others wait for too long: no sender waits for it until it has caught up.
    pub(crate) distrusted: bool,
    /// Messages to it that were dropped. The next warning comes at `warn_at` of them.
    pub(crate) lost: u64,
    pub(crate) warn_at: u64,
    /// How many dropped messages it was told of.
    pub(crate) told_lost: u64,
    /// Messages from it that others lost.
    pub(crate) caused: u64,
    /// Messages from it (`said`) and to it (`heard`).
    pub(crate) said: u64,
    pub(crate) heard: u64,
}

impl Member {
    pub(crate) fn new(peer: Peer, generation: Generation, now: Time) -> Self {
        Self {
            origin: Arc::new(Origin::of(&peer)),
            peer,
            generation,
            told_values: 0,
            codec: None,
            client: String::new(),
            queue: Queue::default(),
            dirty: false,
            subscribed: HashMap::new(),
            serves: BTreeMap::new(),
            actions: BTreeSet::new(),
            works_on: BTreeMap::new(),
            calls: BTreeMap::new(),
            draining: false,
            told_to_drain: false,
            resumed: false,
            cut: false,
            holds: BTreeSet::new(),
            held_by: 0,
            rests: None,
            wasted: 0,
            progress: now,
            distrusted: false,
            lost: 0,
            warn_at: 1,
            told_lost: 0,
            caused: 0,
            said: 0,
            heard: 0,
        }
    }

    /// Whether it can take one more call of this topic.
    pub(crate) fn is_idle(&self, topic: &str) -> bool {
        let serving = self.serves.get(topic);
        !self.draining && !self.cut && serving.is_some_and(|s| s.busy < s.at_once)
    }
}
