//! The handle of this process on the bus.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use ipc::bus::{FromWorker, OLDEST, Peer, VERSION};

use crate::channel::inherited::inherited;
use crate::client::Client;
use crate::identity::Identity;
use crate::{notify, reading};

/// How long the supervisor may take to welcome this worker. It answers within milliseconds; while
/// a new primary takes over, within a few seconds.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);

/// This process as a worker: a handle, cheap to clone. See the crate's documentation.
#[derive(Debug, Clone)]
pub struct Worker {
    pub(crate) client: Arc<Client>,
}

impl Worker {
    /// Joins the bus of the supervisor. Without a supervisor everything works among the handlers
    /// of this process. A process can join once. Fails if the supervisor does not welcome this
    /// worker within 10 seconds.
    pub fn join() -> io::Result<Self> {
        Self::join_pool("")
    }

    /// As [`Worker::join`], as a worker of this pool: other workers name it in `call`.
    pub fn join_pool(pool: &str) -> io::Result<Self> {
        match inherited()? {
            Some(stream) => Self::over(stream, pool),
            None => Self::start(None),
        }
    }

    /// Joins over a channel that is open already, as tests do. `pool` may be empty.
    pub fn over(stream: UnixStream, pool: &str) -> io::Result<Self> {
        let worker = Self::start(Some(stream))?;
        let client = Arc::clone(&worker.client);
        thread::Builder::new()
            .name("bus-reader".to_owned())
            .spawn(move || reading::read_in_background(&client))?;
        let name = concat!("rust ", env!("CARGO_PKG_VERSION")).to_owned();
        let pool = pool.to_owned();
        let hello = FromWorker::Hello { oldest: OLDEST, newest: VERSION, client: name, pool };
        worker.client.send(&hello, true)?;
        match worker.client.state.await_welcome(WELCOME_TIMEOUT) {
            Ok(()) => Ok(worker),
            Err(why) => {
                worker.client.end();
                Err(io::Error::other(format!("cannot join the supervisor's bus: {why}")))
            }
        }
    }

    fn start(stream: Option<UnixStream>) -> io::Result<Self> {
        let client = Arc::new(Client::new(stream)?);
        let handlers = Arc::clone(&client.registry.handlers);
        let events = Arc::clone(&client.registry.events);
        let weak = Arc::downgrade(&client);
        thread::Builder::new().name("bus-handlers".to_owned()).spawn(move || {
            handlers.run(&events, |topic| {
                if let Some(client) = weak.upgrade() {
                    client.unsubscribe(topic);
                }
            });
        })?;
        Ok(Self { client })
    }

    /// Which worker this is. `None` without a supervisor.
    pub fn identity(&self) -> Option<&Identity> {
        self.client.identity.as_ref()
    }

    /// The identity of this worker on the bus. Worker 0 without a bus.
    pub fn peer(&self) -> Peer {
        self.client.state.peer().unwrap_or_default()
    }

    /// Whether there is no bus: no supervisor, or its channel has ended.
    pub fn is_alone(&self) -> bool {
        self.client.channel.is_none() || self.client.state.has_ended()
    }

    /// Tells the supervisor that this worker serves.
    pub fn ready(&self) -> io::Result<()> {
        notify::ready()?;
        self.client.send(&FromWorker::Ready {}, true)
    }

    /// Tells the supervisor that this worker is about to leave by itself: it gets no new calls.
    pub fn leaving(&self) -> io::Result<()> {
        notify::stopping()?;
        self.client.send(&FromWorker::Draining {}, true)
    }

    /// Whether this worker gets no new connections any more, so that it may finish and leave.
    pub fn draining(&self) -> bool {
        self.client.state.is_draining()
    }

    /// Runs this once when the worker drains, or at once if it drains already.
    pub fn on_drain(&self, run: impl FnOnce() + Send + 'static) {
        if let Some(run) = self.client.state.on_drain(Box::new(run)) {
            run();
        }
    }

    /// The number of panics and errors of this worker's handlers, and the number of messages to it
    /// that were dropped.
    pub fn failures(&self) -> (u64, u64) {
        let registry = &self.client.registry;
        let failures = registry.handlers.failures.load(Ordering::Relaxed);
        let dropped = registry.events.dropped.load(Ordering::Relaxed);
        (failures, dropped + self.client.state.dropped.load(Ordering::Relaxed))
    }

    /// Leaves the bus. What this worker has sent is still written; its handlers get no further
    /// events.
    pub fn leave(&self) {
        self.client.end();
    }
}
