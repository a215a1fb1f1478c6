//! The handlers of events, with the EventEmitter's words.
//!
//! A handler that panics or fails is reported on stderr and counted; the others still run.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipc::bus::Peer;
use serde::de::DeserializeOwned;

use crate::batch::{Batch, Part};
use crate::bus::locked;

/// More handlers of one topic than this are probably a mistake: said once for each topic.
const MANY: usize = 10;
/// Events that wait for their handlers; then the oldest is dropped.
const WAITING: usize = 16 * 1024;
/// The bytes of their data.
const WAITING_BYTES: usize = 16 << 20;

/// How long the bus is not read while the handlers take nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// Something that was emitted.
#[derive(Debug, Clone)]
pub struct Event {
    /// The topic.
    pub topic: String,
    /// Who emitted it: a worker, or a person (worker 0).
    pub from: Peer,
    data: String,
}

/// The longest text whose memory is used for the next event, too.
const KEPT: usize = 64 * 1024;

impl Event {
    /// The data as a value.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.data)
    }

    /// The data as JSON text.
    pub fn text(&self) -> &str {
        &self.data
    }

    /// Becomes another one. Whether its topic is another.
    fn become_part(&mut self, part: Part<'_>) -> bool {
        if self.data.capacity() > KEPT {
            self.data = String::new();
        }
        self.data.clear();
        self.data.push_str(part.data);
        if self.from != *part.from {
            self.from.clone_from(part.from);
        }
        let another = self.topic != part.topic;
        if another {
            self.topic.clear();
            self.topic.push_str(part.topic);
        }
        another
    }
}

/// What a handler may give back: nothing, or a result whose error is reported.
pub trait Outcome {
    /// The error, in words.
    fn failure(self) -> Option<String>;
}

impl Outcome for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: Display> Outcome for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

/// The name of one handler, for `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandlerId(u64);

type Run = dyn Fn(&Event) -> Option<String> + Send + Sync;

#[derive(Clone)]
struct Handler {
    id: HandlerId,
    once: bool,
    run: Arc<Run>,
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler").field("id", &self.id).field("once", &self.once).finish()
    }
}

/// All handlers, and the events that wait for them.
#[derive(Debug, Default)]
pub(crate) struct Handlers {
    /// Shared with whoever runs them just now.
    by_topic: Mutex<BTreeMap<String, Arc<Vec<Handler>>>>,
    /// Grows with each change of them.
    edition: AtomicU64,
    next: AtomicU64,
    most: AtomicUsize,
    waiting: Mutex<Waiting>,
    wake: Condvar,
    /// Some of what waited was taken.
    room: Condvar,
    /// Topics of which nothing is to be dropped.
    patient: Mutex<BTreeSet<String>>,
    /// Panics and errors of handlers.
    pub(crate) failures: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    batches: VecDeque<Batch>,
    /// Events in them.
    count: usize,
    /// The bytes of their data.
    bytes: usize,
    /// One that is used again.
    spare: Batch,
    /// The thread sleeps. Waking it costs more than an event.
    asleep: bool,
    /// Somebody waits for room.
    awaited: bool,
    /// Room was waited for in vain, and nothing was taken since.
    stalled: bool,
    over: bool,
}

impl Waiting {
    fn is_full(&self) -> bool {
        self.count >= WAITING || self.bytes >= WAITING_BYTES
    }

    fn fits(&self, batch: &Batch) -> bool {
        let (count, bytes) = (self.count + batch.len(), self.bytes + batch.bytes());
        self.count == 0 || (count <= WAITING && bytes <= WAITING_BYTES)
    }
}

/// The handlers of the last event's topic, for the next one.
#[derive(Debug, Default)]
struct Current {
    edition: u64,
    handlers: Option<Arc<Vec<Handler>>>,
}

impl Handlers {
    /// Adds one. Also says whether it is the topic's first.
    pub(crate) fn add<R: Outcome>(
        &self,
        topic: &str,
        once: bool,
        run: impl Fn(&Event) -> R + Send + Sync + 'static,
    ) -> (HandlerId, bool) {
        let id = HandlerId(self.next.fetch_add(1, Ordering::Relaxed));
        let run: Arc<Run> = Arc::new(move |event| run(event).failure());
        let mut all = self.change();
        let handlers = Arc::make_mut(all.entry(topic.to_owned()).or_default());
        handlers.push(Handler { id, once, run });
        let most = match self.most.load(Ordering::Relaxed) {
            0 => MANY,
            most => most,
        };
        if handlers.len() == most.saturating_add(1) {
            eprintln!(
                "supervisor: possible leak: {} handlers on {topic:?} (set_max_listeners if that is meant)",
                handlers.len()
            );
        }
        (id, handlers.len() == 1)
    }

    /// Removes one. Gives its topic if it was the topic's last.
    pub(crate) fn remove(&self, id: HandlerId) -> Option<String> {
        let mut all = self.change();
        let topic = all.iter_mut().find_map(|(topic, handlers)| {
            let before = handlers.len();
            if handlers.iter().any(|handler| handler.id == id) {
                Arc::make_mut(handlers).retain(|handler| handler.id != id);
            }
            (handlers.len() < before).then(|| topic.clone())
        })?;
        let empty = all.get(&topic).is_some_and(|left| left.is_empty());
        empty.then(|| {
            all.remove(&topic);
            topic
        })
    }

    /// Removes all of a topic. Says whether there were any.
    pub(crate) fn clear(&self, topic: &str) -> bool {
        self.change().remove(topic).is_some()
    }

    /// For changing them.
    fn change(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Vec<Handler>>>> {
        let all = locked(&self.by_topic);
        self.edition.fetch_add(1, Ordering::Release);
        all
    }

    pub(crate) fn count(&self, topic: &str) -> usize {
        locked(&self.by_topic).get(topic).map_or(0, |handlers| handlers.len())
    }

    pub(crate) fn set_most(&self, most: usize) {
        self.most.store(if most == 0 { usize::MAX } else { most }, Ordering::Relaxed);
    }

    /// Nothing of this topic is to be dropped, as long as there is anything to wait for.
    pub(crate) fn keep_all(&self, topic: &str) {
        locked(&self.patient).insert(topic.to_owned());
    }

    /// As `push`, for who reads the bus: where nothing is to be dropped it reads nothing more for a
    /// moment, so that those who emit wait. Not for long: a handler may itself wait for an answer
    /// that is to be read. Takes all out of the batch.
    pub(crate) fn push_from_bus(&self, batch: &mut Batch) {
        let mut waiting = locked(&self.waiting);
        if !waiting.fits(batch) && !waiting.stalled && self.keeps_any(batch) {
            waiting.awaited = true;
            let (waited, timeout) = self
                .room
                .wait_timeout_while(waiting, PATIENCE, |w| !w.fits(batch) && !w.over)
                .unwrap_or_else(PoisonError::into_inner);
            waiting = waited;
            waiting.stalled = timeout.timed_out() && waiting.is_full();
        }
        waiting.count += batch.len();
        waiting.bytes += batch.bytes();
        let spare = std::mem::take(&mut waiting.spare);
        let batch = std::mem::replace(batch, spare);
        waiting.batches.push_back(batch);
        self.pushed(waiting);
    }

    /// Whether nothing of a topic in it is to be dropped.
    fn keeps_any(&self, batch: &Batch) -> bool {
        let patient = locked(&self.patient);
        !patient.is_empty() && batch.parts().any(|part| patient.contains(part.topic))
    }

    /// Lets an event wait for its handlers.
    pub(crate) fn push(&self, topic: &str, data: &str, from: Peer) {
        let mut waiting = locked(&self.waiting);
        waiting.count += 1;
        waiting.bytes += data.len();
        match waiting.batches.back_mut().filter(|batch| batch.is_small()) {
            Some(batch) => batch.add(topic, data, from),
            None => {
                let mut batch = std::mem::take(&mut waiting.spare);
                batch.add(topic, data, from);
                waiting.batches.push_back(batch);
            }
        }
        self.pushed(waiting);
    }

    fn pushed(&self, mut waiting: MutexGuard<'_, Waiting>) {
        while waiting.count > WAITING || waiting.bytes > WAITING_BYTES {
            let Some(oldest) = waiting.batches.front_mut() else { break };
            match oldest.drop_oldest() {
                Some(length) => {
                    waiting.count -= 1;
                    waiting.bytes -= length;
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
                None => drop(waiting.batches.pop_front()),
            }
        }
        if std::mem::take(&mut waiting.asleep) {
            drop(waiting);
            self.wake.notify_one();
        }
    }

    /// Nothing more comes: the thread ends when it has done what waits.
    pub(crate) fn end(&self) {
        locked(&self.waiting).over = true;
        self.wake.notify_all();
        self.room.notify_all();
    }

    /// The thread that runs the handlers, one event after the other. `over(topic)`: the last
    /// handler of a topic ran once and is gone.
    pub(crate) fn run(&self, over: impl Fn(&str)) {
        let mut event = Event { topic: String::new(), from: Peer::default(), data: String::new() };
        let (mut current, mut done) = (Current::default(), Batch::default());
        loop {
            let mut waiting = locked(&self.waiting);
            waiting.spare = std::mem::take(&mut done);
            while waiting.batches.is_empty() {
                if waiting.over {
                    return;
                }
                waiting.asleep = true;
                waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            let batch = waiting.batches.pop_front().unwrap_or_default();
            waiting.count -= batch.len();
            waiting.bytes -= batch.bytes();
            waiting.stalled = false;
            let awaited = std::mem::take(&mut waiting.awaited);
            drop(waiting);
            if awaited {
                self.room.notify_all();
            }
            for part in batch.parts() {
                if event.become_part(part) {
                    current.handlers = None;
                }
                if self.deliver(&event, &mut current) {
                    over(&event.topic);
                }
            }
            done = batch;
            done.clear();
            // A handler that is taken off is not kept for an event that may never come.
            current = Current::default();
        }
    }

    /// Runs the handlers of one event. Whether the topic has none any more.
    fn deliver(&self, event: &Event, current: &mut Current) -> bool {
        let edition = self.edition.load(Ordering::Acquire);
        if let Some(handlers) = current.handlers.as_ref().filter(|_| current.edition == edition) {
            self.run_all(handlers, event);
            return false;
        }
        let handlers = {
            let mut all = locked(&self.by_topic);
            let Some(handlers) = all.get_mut(&event.topic) else { return false };
            let now = Arc::clone(handlers);
            if now.iter().any(|handler| handler.once) {
                Arc::make_mut(handlers).retain(|handler| !handler.once);
            }
            now
        };
        self.run_all(&handlers, event);
        if !handlers.iter().any(|handler| handler.once) {
            *current = Current { edition, handlers: Some(handlers) };
            return false;
        }
        let mut all = self.change();
        let empty = all.get(&event.topic).is_some_and(|left| left.is_empty());
        empty && all.remove(&event.topic).is_some()
    }

    fn run_all(&self, handlers: &[Handler], event: &Event) {
        for handler in handlers {
            if let Some(why) = contained(|| (handler.run)(event)) {
                self.failures.fetch_add(1, Ordering::Relaxed);
                eprintln!("supervisor: a handler of {:?} failed: {why}", event.topic);
            }
        }
    }
}

/// Runs it; a panic becomes a failure.
pub(crate) fn contained(run: impl FnOnce() -> Option<String>) -> Option<String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Some(spoken(panic.as_ref())))
}

/// What a panic said.
pub(crate) fn spoken(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("without a word"))
}
