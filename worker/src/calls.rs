//! Calls, both ends: asking another pool, and answering.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use ipc::bus::{ErrorKind, FromWorker, Json, Peer};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Worker;
use crate::answer::Slot;
use crate::bus::{Inner, Table, fits, locked};
use crate::desk::Desk;
use crate::handlers::spoken;
use crate::hear::Went;
use crate::question::{Reply, Request};
use crate::reading::Patience;

/// How much later than the supervisor we ourselves give up.
const GRACE: Duration = Duration::from_secs(2);
/// How long a call waits that does not say.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The handler failed.
    #[error("the handler failed: {0}")]
    Failed(String),
    /// Nobody answered in time.
    #[error("no answer in time: {0}")]
    TimedOut(String),
    /// The worker that was asked died before it answered.
    #[error("{0}")]
    Died(String),
    /// Too many calls wait.
    #[error("too many calls: {0}")]
    Full(String),
    /// There is no such pool.
    #[error("{0}")]
    NoPool(String),
    /// The answer was dropped because this worker reads too slowly, or the supervisor's primary
    /// died while the call was under way.
    #[error("{0}")]
    Lost(String),
    /// There is no supervisor, or its channel ended, and this worker does not serve the topic
    /// itself.
    #[error("there is no supervisor to relay the call, and nothing here serves it")]
    Alone,
    /// The question or the answer is not what was expected.
    #[error("not the expected data: {0}")]
    Data(#[from] serde_json::Error),
    /// It could not be asked.
    #[error("cannot ask: {0}")]
    Io(#[from] io::Error),
}

impl CallError {
    fn of((kind, message): (ErrorKind, String)) -> Self {
        match kind {
            ErrorKind::Failed => Self::Failed(message),
            ErrorKind::TimedOut => Self::TimedOut(message),
            ErrorKind::Died => Self::Died(message),
            ErrorKind::Full => Self::Full(message),
            ErrorKind::NoPool => Self::NoPool(message),
            ErrorKind::Lost => Self::Lost(message),
        }
    }
}

/// Whom to call, and how long to wait.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    pool: &'a str,
    topic: &'a str,
    timeout: Duration,
    retry: bool,
}

impl<'a> Call<'a> {
    /// An idle worker of this pool (empty: the caller's own). 30 seconds, no retry.
    pub fn to(pool: &'a str, topic: &'a str) -> Self {
        Self { pool, topic, timeout: TIMEOUT, retry: false }
    }

    /// Another deadline, at most an hour.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: timeout.clamp(Duration::from_millis(1), Duration::from_secs(3600)), ..self }
    }

    /// Ask another worker if the first dies before it answers: only for what may be done twice.
    pub fn retry(self) -> Self {
        Self { retry: true, ..self }
    }
}

pub(crate) type Answer = Result<Json, (ErrorKind, String)>;
pub(crate) type Waiter = Box<dyn FnOnce(Option<Answer>) + Send>;

/// Calls of this worker that have no answer yet.
#[derive(Default)]
pub(crate) struct Calls {
    next: AtomicU64,
    pub(crate) waiting: Mutex<BTreeMap<u64, Waiter>>,
    over: Mutex<bool>,
}

impl Calls {
    /// Whether somebody waited for it.
    pub(crate) fn done(&self, id: u64, answer: Answer) -> bool {
        let waiter = locked(&self.waiting).remove(&id);
        waiter.map(|waiter| waiter(Some(answer))).is_some()
    }

    /// The channel has ended: nobody gets an answer any more.
    pub(crate) fn end(&self) {
        *locked(&self.over) = true;
        let all = std::mem::take(&mut *locked(&self.waiting));
        for waiter in all.into_values() {
            waiter(None);
        }
    }

    pub(crate) fn wait(&self, waiter: Waiter) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        // Under the same lock as `end` sets it, so that no waiter is forgotten.
        let over = locked(&self.over);
        if *over {
            drop(over);
            waiter(None);
            return id;
        }
        locked(&self.waiting).insert(id, waiter);
        id
    }
}

/// What this worker serves.
#[derive(Debug, Default)]
pub(crate) struct Served {
    topics: Table<Arc<Desk>>,
    actions: Table<Arc<Desk>>,
}

impl Served {
    /// The threads end when they have done what waits.
    pub(crate) fn close(&self) {
        for table in [&self.topics, &self.actions] {
            locked(table).values().for_each(|desk| desk.close());
        }
    }
}

/// What a thread that reads takes for itself.
#[derive(Debug, Default)]
pub(crate) struct Mine<'a> {
    /// The next call of this topic.
    topic: Option<&'a str>,
    call: Option<Request>,
    /// It was woken for what others wait for.
    pub(crate) others: bool,
}

impl Worker {
    /// Asks an idle worker of a pool, and waits for its answer. A call to oneself is answered by
    /// this worker's own threads.
    pub fn call<A: DeserializeOwned>(
        &self,
        pool: &str,
        topic: &str,
        data: &(impl Serialize + ?Sized),
    ) -> Result<A, CallError> {
        self.call_with(&Call::to(pool, topic), data)
    }

    /// As [`Worker::call`], with another deadline or with a retry.
    pub fn call_with<A: DeserializeOwned>(
        &self,
        call: &Call<'_>,
        data: &(impl Serialize + ?Sized),
    ) -> Result<A, CallError> {
        let slot = Arc::new(Slot::default());
        let to = Arc::clone(&slot);
        let id = self.ask(call, Json::of(data)?, Box::new(move |answer| to.put(answer)))?;
        match self.inner.await_answer(&slot, Instant::now() + call.timeout + GRACE) {
            Some(answer) => read(answer),
            None => {
                self.forget(id);
                Err(CallError::TimedOut("the supervisor did not answer either".to_owned()))
            }
        }
    }

    pub(crate) fn forget(&self, id: u64) {
        let calls = &self.inner.calls;
        locked(&calls.waiting).remove(&id);
    }

    pub(crate) fn ask(
        &self,
        call: &Call<'_>,
        data: Json,
        waiter: Waiter,
    ) -> Result<u64, CallError> {
        if self.is_alone() {
            self.inner.ask_here(call, data, waiter);
            return Ok(0);
        }
        let mut message = FromWorker::Call {
            id: 0,
            pool: call.pool.to_owned(),
            topic: call.topic.to_owned(),
            data,
            timeout_ms: u32::try_from(call.timeout.as_millis()).unwrap_or(u32::MAX),
            retry: call.retry,
        };
        fits(&message)?;
        let number = self.inner.calls.wait(waiter);
        if let FromWorker::Call { id, .. } = &mut message {
            *id = number;
        }
        let id = number;
        if let Err(error) = self.inner.say(&message, true) {
            self.forget(id);
            return Err(error.into());
        }
        Ok(id)
    }

    /// Answers calls on this topic, so many at once, each in a thread of its own. The handler's
    /// error or panic is the caller's [`CallError::Failed`].
    pub fn serve<A: Serialize, E: Display>(
        &self,
        topic: &str,
        at_once: u16,
        handler: impl Fn(&Request) -> Result<A, E> + Send + Sync + 'static,
    ) -> io::Result<()> {
        let at_once = at_once.clamp(1, 64);
        let message = FromWorker::Serve { topic: topic.to_owned(), at_once };
        fits(&message)?;
        let reads = Arc::downgrade(&self.inner);
        put(&self.inner.served.topics, topic, threads(topic, at_once, reads, handler)?);
        self.inner.say_if_joined(&message, true)
    }

    /// Answers calls on this topic no more. Those being worked on are still answered.
    pub fn unserve(&self, topic: &str) -> io::Result<()> {
        if let Some(desk) = locked(&self.inner.served.topics).remove(topic) {
            desk.close();
        }
        self.inner.say_if_joined(&FromWorker::Unserve { topic: topic.to_owned() }, true)
    }

    /// Lets people trigger this: `supervisor trigger NAME ACTION`.
    pub fn action<A: Serialize, E: Display>(
        &self,
        name: &str,
        handler: impl Fn(&Request) -> Result<A, E> + Send + Sync + 'static,
    ) -> io::Result<()> {
        let message = FromWorker::Action { name: name.to_owned() };
        fits(&message)?;
        put(&self.inner.served.actions, name, threads(name, 1, Weak::new(), handler)?);
        self.inner.say_if_joined(&message, true)
    }
}

/// What a waiter got.
pub(crate) fn read<A: DeserializeOwned>(answer: Option<Answer>) -> Result<A, CallError> {
    match answer {
        Some(Ok(data)) => Ok(data.read()?),
        Some(Err(failure)) => Err(CallError::of(failure)),
        None => Err(CallError::Alone),
    }
}

fn put(table: &Table<Arc<Desk>>, name: &str, desk: Arc<Desk>) {
    if let Some(before) = locked(table).insert(name.to_owned(), desk) {
        before.close();
    }
}

/// Threads that answer, until the desk is closed. `reads`: whose channel they read meanwhile.
fn threads<A: Serialize, E: Display>(
    topic: &str,
    count: u16,
    reads: Weak<Inner>,
    handler: impl Fn(&Request) -> Result<A, E> + Send + Sync + 'static,
) -> io::Result<Arc<Desk>> {
    let desk = Arc::new(Desk::new(usize::from(count) * 2));
    let handler = Arc::new(handler);
    for _ in 0..count {
        let (desk, handler) = (Arc::clone(&desk), Arc::clone(&handler));
        let (reads, topic) = (reads.clone(), topic.to_owned());
        let name: String = format!("bus-{topic}").chars().take(15).collect();
        thread::Builder::new().name(name).spawn(move || {
            while let Some(request) = next(&reads, &desk, &topic) {
                let answer = catch_unwind(AssertUnwindSafe(|| {
                    let answer = handler(&request).map_err(|error| error.to_string())?;
                    Json::of(&answer).map_err(|error| error.to_string())
                }));
                let answer = answer.unwrap_or_else(|panic| Err(spoken(panic.as_ref())));
                request.reply.give(answer);
            }
        })?;
    }
    Ok(desk)
}

/// The next request: from the channel, where nobody reads that, else from the desk.
fn next(reads: &Weak<Inner>, desk: &Desk, topic: &str) -> Option<Request> {
    let inner = reads.upgrade().filter(|_| !desk.is_busy());
    inner.and_then(|inner| inner.read_for(desk, topic)).or_else(|| desk.take())
}

impl Inner {
    /// Reads the channel, if nobody else does, until a call of this topic comes, or something for
    /// others, who then read themselves, or nothing for a while.
    fn read_for(self: &Arc<Self>, desk: &Desk, topic: &str) -> Option<Request> {
        let mut lead = self.reading.as_ref()?.lead(false)?;
        let mut mine = Mine { topic: Some(topic), ..Mine::default() };
        // Nobody else fills the desk now.
        let mut went = Went::Some;
        let goes_on = |went| matches!(went, Went::Some | Went::More);
        while goes_on(went) && mine.call.is_none() && !mine.others && !desk.is_busy() {
            went = self.read_once(&mut lead, Patience::Some, &mut mine);
        }
        mine.call
    }

    pub(crate) fn request(
        self: &Arc<Self>,
        id: u64,
        topic: String,
        data: Json,
        from: Peer,
        timeout_ms: u32,
    ) -> Request {
        let deadline = Instant::now() + Duration::from_millis(timeout_ms.into());
        let reply = Reply::Bus { inner: Arc::clone(self), id };
        Request { topic, from, deadline, data, reply }
    }

    pub(crate) fn take_call(&self, request: Request, mine: &mut Mine<'_>) {
        if mine.call.is_none() && mine.topic == Some(&request.topic) {
            mine.call = Some(request);
        } else {
            mine.others = true;
            give(&self.served.topics, request);
        }
    }

    pub(crate) fn take_trigger(self: &Arc<Self>, id: u64, action: &str, data: Json) {
        let reply = Reply::Bus { inner: Arc::clone(self), id };
        let deadline = Instant::now() + TIMEOUT;
        let (topic, from) = (action.to_owned(), Peer::default());
        give(&self.served.actions, Request { topic, from, deadline, data, reply });
    }

    fn ask_here(&self, call: &Call<'_>, data: Json, waiter: Waiter) {
        let topics = locked(&self.served.topics);
        if !topics.contains_key(call.topic) {
            drop(topics);
            return waiter(None);
        }
        drop(topics);
        let (topic, from) = (call.topic.to_owned(), Peer::default());
        let deadline = Instant::now() + call.timeout;
        let request = Request { topic, from, deadline, data, reply: Reply::Here(waiter) };
        give(&self.served.topics, request);
    }
}

/// Gives a request to its threads.
fn give(table: &Table<Arc<Desk>>, request: Request) {
    let desk = locked(table).get(&request.topic).map(Arc::clone);
    let Some(desk) = desk else {
        let why = format!("this worker does not serve {:?} any more", request.topic);
        return request.reply.give(Err(why));
    };
    if let Some(request) = desk.put(request) {
        request.reply.give(Err("this worker has too much to do".to_owned()));
    }
}
