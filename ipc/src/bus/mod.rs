//! The bus: the messages between a worker that uses a client library and the primary.
//!
//! A channel begins with the worker's [`FromWorker::Hello`]. Its first byte selects the codec for
//! both directions: frames ([`frame`]) for Rust, JSON lines ([`line`]) for all other languages. The
//! messages are the same in both. Data is JSON text in both, so that all workers understand each
//! other; the primary checks it once and passes it on unchanged.
//!
//! [`check`] defines what is refused: names and data that are too long, data that is not JSON.

pub mod check;
pub mod codec;
pub mod decode;
pub mod event;
pub mod frame;
mod json;
mod lasting;
pub mod line;
#[cfg(test)]
mod tests;

use bincode::{Decode, Encode};
pub use decode::Message;
pub use json::Json;
use serde::{Deserialize, Serialize};

/// The version of the messages that this build speaks. New messages are appended to the enums; a
/// changed message needs a new version.
pub const VERSION: u16 = 1;
/// The oldest version that this build understands. See [`VERSION`].
pub const OLDEST: u16 = 1;

/// The longest frame or line, header or newline included: 1 MiB.
pub const MAX_FRAME: usize = 1 << 20;
/// The longest data of one message, in bytes: a frame less the room that names and numbers may
/// need.
pub const MAX_DATA: usize = MAX_FRAME - 8 * 1024;
/// The longest topic, pool, action or metric name, in bytes.
pub const MAX_NAME: usize = 200;
/// The longest text for display (an error, a unit, a client's name), in bytes.
pub const MAX_TEXT: usize = 1024;
/// The most labels of one metric.
pub const MAX_LABELS: usize = 8;

/// A message from a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
#[serde(rename_all = "kebab-case")]
pub enum FromWorker {
    /// The first message on a channel.
    Hello {
        /// The oldest version that the worker understands.
        #[serde(default = "oldest")]
        oldest: u16,
        /// The newest version that the worker understands.
        #[serde(default = "newest")]
        newest: u16,
        /// The worker's client library: `rust 0.1.0`.
        #[serde(default)]
        client: String,
        /// The pool that the worker joins. Empty: the pool of its configuration.
        #[serde(default)]
        pool: String,
    },
    /// The worker is ready.
    Ready {},
    /// The worker is about to leave and takes no new calls.
    Draining {},
    /// Send data to every subscriber of the topic except this worker.
    Emit {
        /// The topic.
        topic: String,
        /// Any JSON.
        #[serde(default)]
        data: Json,
    },
    /// Subscribe to a topic.
    Subscribe {
        /// The topic.
        topic: String,
        /// What happens when this worker does not read.
        #[serde(default)]
        when_full: WhenFull,
    },
    /// End a subscription.
    Unsubscribe {
        /// The topic.
        topic: String,
    },
    /// Send data to one slot's worker, whether it has subscribed or not.
    Send {
        /// The slot of the receiver.
        slot: u16,
        /// The topic.
        topic: String,
        /// Any JSON.
        #[serde(default)]
        data: Json,
    },
    /// Call one idle worker of a pool. Exactly one [`ToWorker::Answer`] or [`ToWorker::Error`]
    /// follows.
    Call {
        /// The caller's number for this call; no other open call of this worker has it.
        id: u64,
        /// The pool to call. Empty: the caller's own.
        #[serde(default)]
        pool: String,
        /// The topic.
        topic: String,
        /// Any JSON.
        #[serde(default)]
        data: Json,
        /// The time limit for the answer, in milliseconds; 0 means 30 seconds.
        #[serde(default)]
        timeout_ms: u32,
        /// Whether to ask another worker if the first dies before it answers.
        #[serde(default)]
        retry: bool,
    },
    /// The answer to a [`ToWorker::Call`] or [`ToWorker::Trigger`].
    Answer {
        /// The number of the call or trigger.
        id: u64,
        /// Any JSON.
        #[serde(default)]
        data: Json,
    },
    /// A [`ToWorker::Call`] or [`ToWorker::Trigger`] failed.
    Fail {
        /// The number of the call or trigger.
        id: u64,
        /// The reason, for display.
        message: String,
    },
    /// Offer to answer calls on this topic.
    Serve {
        /// The topic.
        topic: String,
        /// How many calls the worker takes at once; 0 means one.
        #[serde(default)]
        at_once: u16,
    },
    /// Stop answering calls on this topic.
    Unserve {
        /// The topic.
        topic: String,
    },
    /// A measured value.
    Metric {
        /// The metric's name.
        name: String,
        /// How the value changes the metric.
        kind: MetricKind,
        /// The value.
        value: f64,
        /// `seconds`, `bytes`; may be empty.
        #[serde(default)]
        unit: String,
        /// Name and value of each label.
        #[serde(default)]
        labels: Vec<(String, String)>,
    },
    /// The answer to a [`ToWorker::Config`].
    Applied {
        /// The version of the values.
        version: u64,
        /// Why the worker did not apply the values.
        #[serde(default)]
        error: Option<String>,
    },
    /// Register an action that an operator may trigger.
    Action {
        /// The action's name.
        name: String,
    },
    /// Ask for a [`ToWorker::Pong`].
    Ping {
        /// Any number.
        #[serde(default)]
        id: u64,
    },
    /// The answer to [`ToWorker::Ping`].
    Pong {
        /// The number of the ping.
        #[serde(default)]
        id: u64,
    },
    /// Give a descriptor to one slot's worker. The descriptor travels beside this message
    /// (SCM_RIGHTS), at the latest with its first byte; several descriptors arrive in the order of
    /// their messages. A [`ToWorker::Answer`] says that the descriptor is on its way, a
    /// [`ToWorker::Error`] that it is not.
    Give {
        /// The giver's number for this message; no open call of this worker has it.
        id: u64,
        /// The slot of the receiver.
        slot: u16,
        /// The topic.
        topic: String,
        /// Any JSON.
        #[serde(default)]
        data: Json,
    },
}

/// A message to a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
#[serde(rename_all = "kebab-case")]
pub enum ToWorker {
    /// The answer to [`FromWorker::Hello`].
    Welcome {
        /// The version that both sides speak from now on.
        version: u16,
        /// The worker's own identity.
        you: Peer,
        /// The app's name.
        app: String,
    },
    /// The last message before the primary closes the channel.
    Refused {
        /// The reason, for display.
        reason: String,
    },
    /// Another peer emitted or sent an event.
    Event {
        /// The topic.
        topic: String,
        /// The data.
        #[serde(default)]
        data: Json,
        /// The sender.
        from: Peer,
    },
    /// A call for this worker to answer with [`FromWorker::Answer`] or [`FromWorker::Fail`].
    Call {
        /// The number to use in the answer.
        id: u64,
        /// The topic.
        topic: String,
        /// The data.
        #[serde(default)]
        data: Json,
        /// The caller.
        from: Peer,
        /// The time limit in milliseconds; the caller does not wait longer.
        timeout_ms: u32,
    },
    /// The answer to a call of this worker.
    Answer {
        /// The worker's number for the call.
        id: u64,
        /// The data.
        #[serde(default)]
        data: Json,
    },
    /// A call of this worker failed.
    Error {
        /// The worker's number for the call.
        id: u64,
        /// The kind of failure.
        kind: ErrorKind,
        /// A sentence for display.
        message: String,
    },
    /// Configuration that all workers share. The worker answers with [`FromWorker::Applied`].
    Config {
        /// The version, which grows with each change.
        version: u64,
        /// The values.
        #[serde(default)]
        data: Json,
    },
    /// The worker gets no new connections: it may finish its work and leave.
    Drain {},
    /// An operator triggered an action. The worker answers it like a call.
    Trigger {
        /// The number to use in the answer.
        id: u64,
        /// The action.
        action: String,
        /// The operator's data for the action.
        #[serde(default)]
        data: Json,
    },
    /// Messages to this worker were dropped.
    Dropped {
        /// How many were dropped since the worker joined.
        count: u64,
    },
    /// Ask for a [`FromWorker::Pong`].
    Ping {
        /// Any number.
        #[serde(default)]
        id: u64,
    },
    /// The answer to [`FromWorker::Ping`].
    Pong {
        /// The number of the ping.
        #[serde(default)]
        id: u64,
    },
    /// Another worker gave a descriptor, which travels as with [`FromWorker::Give`].
    Given {
        /// The topic.
        topic: String,
        /// The data.
        #[serde(default)]
        data: Json,
        /// The giver.
        from: Peer,
    },
    /// The primary died, and another one took over. Earlier calls get no answer. The worker sends
    /// its lasting state again (its subscriptions, topics it serves, registrations; that it is
    /// ready), because the dead primary may not have received the latest changes.
    Resumed {},
}

/// One end of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub struct Peer {
    /// The worker's number, never reused; 0 means an operator on the command line.
    pub worker: u64,
    /// Its slot.
    pub slot: u16,
    /// Its pool.
    pub pool: String,
}

/// What happens to a topic's messages when the queue of a subscriber is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// The primary drops the oldest messages and counts them.
    #[default]
    DropOldest,
    /// The senders wait, up to a limit.
    Wait,
}

/// How a pushed value changes a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum MetricKind {
    /// The value replaces the metric.
    Gauge,
    /// The value is added to the metric.
    Counter,
    /// The value is one more observation.
    Histogram,
}

impl MetricKind {
    /// The word for it, as in JSON and in OpenMetrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The handler failed.
    Failed,
    /// No answer came in time.
    TimedOut,
    /// The called worker died before it answered.
    Died,
    /// Too many calls are waiting.
    Full,
    /// No worker ever belonged to a pool of that name.
    NoPool,
    /// The answer did not fit into the caller's queue because the caller does not read.
    Lost,
}

impl ErrorKind {
    /// The name of this kind in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::TimedOut => "timed-out",
            Self::Died => "died",
            Self::Full => "full",
            Self::NoPool => "no-pool",
            Self::Lost => "lost",
        }
    }
}

fn oldest() -> u16 {
    OLDEST
}

fn newest() -> u16 {
    VERSION
}

/// The newest version that both sides understand.
pub fn agree(oldest: u16, newest: u16) -> Result<u16, String> {
    let common = newest.min(VERSION);
    if oldest <= newest && common >= oldest.max(OLDEST) {
        return Ok(common);
    }
    Err(format!(
        "the worker speaks versions {oldest} to {newest} of the bus, and this supervisor speaks \
         {OLDEST} to {VERSION}: use a client of the supervisor's version"
    ))
}
