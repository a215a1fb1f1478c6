//! A worker on the bus.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ipc::bus::check::{self, Unfit};
use ipc::bus::decode::Codec;
use ipc::bus::event;
use ipc::bus::{FromWorker, Json, OLDEST, Peer, VERSION, WhenFull};
use serde::Serialize;

use crate::Identity;
use crate::calls::{Calls, Served};
use crate::channel::{self, Outbox};
use crate::chores::Chores;
use crate::configured::Config;
use crate::gifts::Gifts;
use crate::handlers::{Event, HandlerId, Handlers, Outcome};
use crate::limits::Limits;
use crate::reading::Reading;
use crate::standing::Standing;

/// How long the supervisor may take to say welcome.
const WELCOME: Duration = Duration::from_secs(10);

pub(crate) type Configure = dyn Fn(&Json) -> Result<(), String> + Send + Sync;
type OnDrain = Box<dyn FnOnce() + Send>;

/// This process as a worker: a handle, cheap to clone. See the crate's documentation.
#[derive(Debug, Clone)]
pub struct Worker {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    identity: Option<Identity>,
    /// `None` without a supervisor.
    pub(crate) outbox: Option<Arc<Outbox>>,
    /// As the outbox.
    pub(crate) reading: Option<Reading>,
    pub(crate) handlers: Arc<Handlers>,
    pub(crate) calls: Calls,
    pub(crate) served: Served,
    pub(crate) gifts: Gifts,
    pub(crate) limits: Arc<Limits>,
    pub(crate) chores: Mutex<Chores>,
    /// Held while what lasts is written, so that the supervisor hears it in this order.
    pub(crate) standing: Mutex<Standing>,
    pub(crate) state: Mutex<State>,
    pub(crate) changed: Condvar,
    pub(crate) configure: Mutex<Option<Arc<Configure>>>,
    /// Messages to this worker that the supervisor had to drop.
    pub(crate) lost: AtomicU64,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) welcome: Option<Peer>,
    pub(crate) refused: Option<String>,
    gone: bool,
    pub(crate) draining: bool,
    pub(crate) on_drain: Vec<OnDrain>,
    /// The newest shared values.
    pub(crate) config: Option<Arc<Config>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("identity", &self.identity).finish_non_exhaustive()
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker {
    /// Joins the bus of the supervisor above, or is alone where there is none: then everything
    /// works among the handlers of this process. Once for each process.
    pub fn join() -> io::Result<Self> {
        match channel::inherited()? {
            Some(stream) => Self::over(stream, ""),
            None => Self::start(None),
        }
    }

    /// As [`Worker::join`], as a worker of this pool: `call` names it.
    pub fn join_pool(pool: &str) -> io::Result<Self> {
        match channel::inherited()? {
            Some(stream) => Self::over(stream, pool),
            None => Self::start(None),
        }
    }

    /// Joins over a channel that is there already, as tests do. `pool` may be empty.
    pub fn over(stream: UnixStream, pool: &str) -> io::Result<Self> {
        let reader = stream.try_clone()?;
        let worker = Self::start(Some((Outbox::new(stream)?, Reading::new(reader)?)))?;
        let inner = Arc::clone(&worker.inner);
        thread::Builder::new().name("bus-reader".to_owned()).spawn(move || {
            if let Some(reading) = &inner.reading {
                inner.read(reading);
            }
        })?;
        let client = concat!("rust ", env!("CARGO_PKG_VERSION")).to_owned();
        let hello =
            FromWorker::Hello { oldest: OLDEST, newest: VERSION, client, pool: pool.to_owned() };
        worker.inner.say(&hello, true)?;
        let waits = |state: &mut State| state.welcome.is_none() && !state.gone;
        let (state, _) = worker
            .inner
            .changed
            .wait_timeout_while(locked(&worker.inner.state), WELCOME, waits)
            .unwrap_or_else(PoisonError::into_inner);
        if state.welcome.is_some() {
            drop(state);
            return Ok(worker);
        }
        let why = state.refused.clone().unwrap_or_else(|| "no answer".to_owned());
        drop(state);
        worker.inner.end();
        Err(io::Error::other(format!("cannot join the supervisor's bus: {why}")))
    }

    fn start(channel: Option<(Arc<Outbox>, Reading)>) -> io::Result<Self> {
        let (outbox, reading) = channel.unzip();
        let inner = Arc::new(Inner {
            identity: Identity::from_env(),
            outbox,
            reading,
            handlers: Arc::default(),
            calls: Calls::default(),
            served: Served::default(),
            gifts: Gifts::default(),
            limits: Arc::default(),
            chores: Mutex::default(),
            standing: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            configure: Mutex::default(),
            lost: AtomicU64::new(0),
        });
        let handlers = Arc::clone(&inner.handlers);
        let weak = Arc::downgrade(&inner);
        thread::Builder::new().name("bus-handlers".to_owned()).spawn(move || {
            handlers.run(|topic| {
                if let Some(inner) = weak.upgrade() {
                    inner.unsubscribe(topic);
                }
            });
        })?;
        Ok(Self { inner })
    }

    /// Which worker this is; `None` without a supervisor.
    pub fn identity(&self) -> Option<&Identity> {
        self.inner.identity.as_ref()
    }

    /// Who this is on the bus. Worker 0 without one.
    pub fn peer(&self) -> Peer {
        locked(&self.inner.state).welcome.clone().unwrap_or_default()
    }

    /// Whether there is no bus: no supervisor, or its channel has ended.
    pub fn is_alone(&self) -> bool {
        self.inner.outbox.is_none() || locked(&self.inner.state).gone
    }

    /// Says that this worker serves.
    pub fn ready(&self) -> io::Result<()> {
        crate::ready()?;
        self.inner.say_if_joined(&FromWorker::Ready {}, true)
    }

    /// Says that this worker is about to leave by itself: it gets no new calls.
    pub fn leaving(&self) -> io::Result<()> {
        crate::stopping()?;
        self.inner.say_if_joined(&FromWorker::Draining {}, true)
    }

    /// Whether this worker gets no new connections any more: it may finish and leave.
    pub fn draining(&self) -> bool {
        locked(&self.inner.state).draining
    }

    /// Runs this once when the worker drains, or at once if it does already.
    pub fn on_drain(&self, run: impl FnOnce() + Send + 'static) {
        let mut state = locked(&self.inner.state);
        if !state.draining {
            state.on_drain.push(Box::new(run));
            return;
        }
        drop(state);
        run();
    }

    /// Runs the handler for each event of this topic, in a thread of the bus. The oldest events
    /// are dropped while it does not keep up.
    pub fn on<R: Outcome>(
        &self,
        topic: &str,
        handler: impl Fn(&Event) -> R + Send + Sync + 'static,
    ) -> io::Result<HandlerId> {
        self.listen(topic, false, WhenFull::DropOldest, handler)
    }

    /// As [`Worker::on`]; while it does not keep up, those who emit wait for a few seconds.
    pub fn on_all<R: Outcome>(
        &self,
        topic: &str,
        handler: impl Fn(&Event) -> R + Send + Sync + 'static,
    ) -> io::Result<HandlerId> {
        self.listen(topic, false, WhenFull::Wait, handler)
    }

    /// As [`Worker::on`], for the next event only.
    pub fn once<R: Outcome>(
        &self,
        topic: &str,
        handler: impl Fn(&Event) -> R + Send + Sync + 'static,
    ) -> io::Result<HandlerId> {
        self.listen(topic, true, WhenFull::DropOldest, handler)
    }

    fn listen<R: Outcome>(
        &self,
        topic: &str,
        once: bool,
        when_full: WhenFull,
        handler: impl Fn(&Event) -> R + Send + Sync + 'static,
    ) -> io::Result<HandlerId> {
        let subscribe = FromWorker::Subscribe { topic: topic.to_owned(), when_full };
        fits(&subscribe)?;
        if when_full == WhenFull::Wait {
            self.inner.handlers.keep_all(topic);
        }
        let (id, first) = self.inner.handlers.add(topic, once, handler);
        if first || when_full == WhenFull::Wait {
            self.inner.say_if_joined(&subscribe, true)?;
        }
        Ok(id)
    }

    /// Removes a handler.
    pub fn off(&self, handler: HandlerId) {
        if let Some(topic) = self.inner.handlers.remove(handler) {
            self.inner.unsubscribe(&topic);
        }
    }

    /// Removes all handlers of a topic.
    pub fn off_all(&self, topic: &str) {
        if self.inner.handlers.clear(topic) {
            self.inner.unsubscribe(topic);
        }
    }

    /// How many handlers a topic has in this worker.
    pub fn listener_count(&self, topic: &str) -> usize {
        self.inner.handlers.count(topic)
    }

    /// From how many handlers of one topic on a leak is suspected, instead of 10; 0: never.
    pub fn set_max_listeners(&self, most: usize) {
        self.inner.handlers.set_most(most);
    }

    /// Gives data to all handlers of a topic in all workers, this one included. At most once: a
    /// worker that is not there, or that is too slow, misses it.
    pub fn emit<T: Serialize + ?Sized>(&self, topic: &str, data: &T) -> io::Result<()> {
        let data = Json::of(data)?;
        check::event(topic, data.text()).map_err(invalid)?;
        if self.inner.handlers.count(topic) > 0 {
            self.inner.handlers.push(topic, data.text(), self.peer());
        }
        let Some(outbox) = &self.inner.outbox else { return Ok(()) };
        outbox.push_made(false, |bytes| {
            event::emit(topic, data.text(), bytes).map_err(io::Error::other)
        })
    }

    /// Gives data to the handlers of a topic in one slot's worker.
    pub fn send<T: Serialize + ?Sized>(&self, slot: u16, topic: &str, data: &T) -> io::Result<()> {
        let message = FromWorker::Send { slot, topic: topic.to_owned(), data: Json::of(data)? };
        fits(&message)?;
        self.inner.say_if_joined(&message, false)
    }

    /// Panics and errors of this worker's handlers, and messages to it that were dropped.
    pub fn failures(&self) -> (u64, u64) {
        let dropped = self.inner.handlers.dropped.load(Ordering::Relaxed);
        let failures = self.inner.handlers.failures.load(Ordering::Relaxed);
        (failures, dropped + self.inner.lost.load(Ordering::Relaxed))
    }

    /// Leaves the bus. What was said before is still written; handlers hear nothing more.
    pub fn leave(&self) {
        self.inner.end();
    }
}

/// Whether the supervisor would take it: else it would cut this worker off.
pub(crate) fn fits(message: &FromWorker) -> io::Result<()> {
    message.fits().map_err(invalid)
}

fn invalid(error: Unfit) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

impl Inner {
    pub(crate) fn say_if_joined(&self, message: &FromWorker, urgent: bool) -> io::Result<()> {
        if self.outbox.is_none() { Ok(()) } else { self.say(message, urgent) }
    }

    pub(crate) fn say(&self, message: &FromWorker, urgent: bool) -> io::Result<()> {
        let Some(outbox) = &self.outbox else { return Ok(()) };
        let frame = self.frame(message)?;
        let mut standing = message.lasts().then(|| locked(&self.standing));
        if let Some(standing) = &mut standing {
            standing.keep(message);
        }
        outbox.push(&frame, urgent)
    }

    pub(crate) fn frame(&self, message: &FromWorker) -> io::Result<Vec<u8>> {
        let mut frame = Vec::with_capacity(128);
        Codec::Frames.write(message, &mut frame).map_err(io::Error::other)?;
        Ok(frame)
    }

    pub(crate) fn end(&self) {
        if let Some(outbox) = &self.outbox {
            outbox.close();
        }
        locked(&self.state).gone = true;
        self.changed.notify_all();
        self.calls.end();
        self.handlers.end();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
        self.served.close();
    }
}

/// As much of a text as the bus takes.
pub(crate) fn short(mut text: String) -> String {
    let cut = text.floor_char_boundary(ipc::bus::MAX_TEXT);
    text.truncate(cut);
    text
}

/// The threads' table: what runs for each served topic.
pub(crate) type Table<T> = Mutex<BTreeMap<String, T>>;
