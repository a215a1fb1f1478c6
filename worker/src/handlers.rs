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

use ipc::bus::{Json, Peer};
use serde::de::DeserializeOwned;

/// More handlers of one topic than this are probably a mistake: said once for each topic.
const MANY: usize = 10;
/// Events that wait for their handlers; then the oldest is dropped.
const WAITING: usize = 16 * 1024;
/// Events that the thread takes at once.
const AT_ONCE: usize = 256;
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
    pub(crate) data: Json,
}

impl Event {
    /// The data as a value.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        self.data.read()
    }

    /// The data as JSON text.
    pub fn text(&self) -> &str {
        self.data.text()
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
    events: VecDeque<Event>,
    bytes: usize,
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
        self.events.len() >= WAITING || self.bytes >= WAITING_BYTES
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut all = locked(&self.by_topic);
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
        let mut all = locked(&self.by_topic);
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
        locked(&self.by_topic).remove(topic).is_some()
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

    /// As `push`, for the thread that reads the bus: where nothing is to be dropped it reads
    /// nothing more for a moment, so that those who emit wait. Not for long: a handler may itself
    /// wait for an answer that this thread is to read.
    pub(crate) fn push_from_bus(&self, event: Event) {
        let mut waiting = locked(&self.waiting);
        if waiting.is_full() && !waiting.stalled && locked(&self.patient).contains(&event.topic) {
            waiting.awaited = true;
            let (waited, timeout) = self
                .room
                .wait_timeout_while(waiting, PATIENCE, |w| w.is_full() && !w.over)
                .unwrap_or_else(PoisonError::into_inner);
            waiting = waited;
            waiting.stalled = timeout.timed_out();
        }
        drop(waiting);
        self.push(event);
    }

    /// Lets an event wait for its handlers.
    pub(crate) fn push(&self, event: Event) {
        let mut waiting = locked(&self.waiting);
        waiting.bytes += event.data.text().len();
        waiting.events.push_back(event);
        while waiting.events.len() > WAITING || waiting.bytes > WAITING_BYTES {
            let Some(oldest) = waiting.events.pop_front() else { break };
            waiting.bytes -= oldest.data.text().len();
            self.dropped.fetch_add(1, Ordering::Relaxed);
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
        let mut events: Vec<Event> = Vec::new();
        loop {
            let mut waiting = locked(&self.waiting);
            while waiting.events.is_empty() {
                if waiting.over {
                    return;
                }
                waiting.asleep = true;
                waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            let some = waiting.events.len().min(AT_ONCE);
            events.extend(waiting.events.drain(..some));
            waiting.stalled = false;
            let awaited = std::mem::take(&mut waiting.awaited);
            waiting.bytes -= events.iter().map(|event| event.data.text().len()).sum::<usize>();
            drop(waiting);
            if awaited {
                self.room.notify_all();
            }
            for event in events.drain(..) {
                if self.deliver(&event) {
                    over(&event.topic);
                }
            }
        }
    }

    /// Runs the handlers of one event. Whether the topic has none any more.
    fn deliver(&self, event: &Event) -> bool {
        let handlers = {
            let mut all = locked(&self.by_topic);
            let Some(handlers) = all.get_mut(&event.topic) else { return false };
            let now = Arc::clone(handlers);
            if now.iter().any(|handler| handler.once) {
                Arc::make_mut(handlers).retain(|handler| !handler.once);
            }
            now
        };
        for handler in handlers.iter() {
            if let Some(why) = contained(|| (handler.run)(event)) {
                self.failures.fetch_add(1, Ordering::Relaxed);
                eprintln!("supervisor: a handler of {:?} failed: {why}", event.topic);
            }
        }
        if !handlers.iter().any(|handler| handler.once) {
            return false;
        }
        let mut all = locked(&self.by_topic);
        let empty = all.get(&event.topic).is_some_and(|left| left.is_empty());
        empty && all.remove(&event.topic).is_some()
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
