//! The handlers of events, by topic.
//!
//! One thread runs them, one event after the other. A handler that panics or fails is reported on
//! stderr and counted; the others still run.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::event::{Event, Outcome};
use super::event_queue::EventQueue;
use crate::channel::batch::Batch;
use crate::contain::contained;
use crate::sync::locked;

/// More handlers of one topic than this are probably a leak: as many as Node's EventEmitter allows.
const MAX_LISTENERS: usize = 10;

/// Identifies one handler, for `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandlerId(u64);

type Run = dyn Fn(&Event) -> Option<String> + Send + Sync;
type Table = BTreeMap<String, Arc<Vec<Handler>>>;

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

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Handlers {
    /// Each list is shared with the thread that runs it.
    by_topic: Mutex<Table>,
    /// Grows with each change of the table.
    edition: AtomicU64,
    next: AtomicU64,
    /// 0: [`MAX_LISTENERS`].
    max_listeners: AtomicUsize,
    /// The panics and errors of handlers.
    pub(crate) failures: AtomicU64,
}

/// The handlers of the last event's topic, for the next event.
#[derive(Debug, Default)]
struct Current {
    edition: u64,
    handlers: Option<Arc<Vec<Handler>>>,
}

impl Handlers {
    /// Adds a handler. Also returns whether it is the topic's first.
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
        let most = match self.max_listeners.load(Ordering::Relaxed) {
            0 => MAX_LISTENERS,
            most => most,
        };
        if handlers.len() == most.saturating_add(1) {
            eprintln!(
                "supervisor: {} handlers on {topic:?} are a possible leak (if you want them, call set_max_listeners)",
                handlers.len()
            );
        }
        (id, handlers.len() == 1)
    }

    /// Removes a handler. Returns its topic if it was the topic's last.
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

    /// Removes all handlers of a topic. Returns whether there were any.
    pub(crate) fn clear(&self, topic: &str) -> bool {
        self.change().remove(topic).is_some()
    }

    fn change(&self) -> MutexGuard<'_, Table> {
        let all = locked(&self.by_topic);
        self.edition.fetch_add(1, Ordering::Release);
        all
    }

    /// The number of handlers of a topic.
    pub(crate) fn count(&self, topic: &str) -> usize {
        locked(&self.by_topic).get(topic).map_or(0, |handlers| handlers.len())
    }

    /// From how many handlers on to report a possible leak. 0: never.
    pub(crate) fn set_max_listeners(&self, most: usize) {
        let most = if most == 0 { usize::MAX } else { most };
        self.max_listeners.store(most, Ordering::Relaxed);
    }

    /// The handlers' thread. Calls `unused(topic)` when a topic's last handler has run once and is
    /// gone.
    pub(crate) fn run(&self, events: &EventQueue, unused: impl Fn(&str)) {
        let (mut event, mut done) = (Event::empty(), Batch::default());
        while let Some(batch) = events.take(done) {
            let mut current = Current::default();
            for part in batch.parts() {
                if event.assign(part) {
                    current.handlers = None;
                }
                if self.deliver(&event, &mut current) {
                    unused(&event.topic);
                }
            }
            // `current` ends here: a removed handler must not stay for an event that never comes.
            done = batch;
            done.clear();
        }
    }

    /// Runs the handlers of one event. Returns whether the topic has none any more.
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
