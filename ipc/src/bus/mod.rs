//! The bus: what a worker that knows the supervisor says on its channel, and what it hears.
//!
//! A channel begins with the worker's [`FromWorker::Hello`]. Its first byte tells the codec for
//! both directions: frames ([`frame`]) for Rust, JSON lines ([`line`]) for everything else. The
//! messages are the same. Data is JSON text in both, so that every worker understands every
//! other; it is checked where it comes in and handed on untouched.
//!
//! Refuses what [`check`] names: names and data that are too long, data that is not JSON.

pub mod check;
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

/// The version of the messages that this build speaks, and the oldest that it understands. New
/// messages are appended to the enums; a changed one is a new version.
pub const VERSION: u16 = 1;
/// See [`VERSION`].
pub const OLDEST: u16 = 1;

/// The longest frame or line, header or newline included: 1 MiB.
pub const MAX_FRAME: usize = 1 << 20;
/// The longest data of one message: a frame less what names and numbers may need.
pub const MAX_DATA: usize = MAX_FRAME - 8 * 1024;
/// The longest topic, pool, action or metric name, in bytes.
pub const MAX_NAME: usize = 200;
/// The longest text for people (an error, a unit, an SDK's name), in bytes.
pub const MAX_TEXT: usize = 1024;
/// Labels of one metric.
pub const MAX_LABELS: usize = 8;

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
#[serde(rename_all = "kebab-case")]
pub enum FromWorker {
    /// The first message.
    Hello {
        /// The oldest version it understands.
        #[serde(default = "oldest")]
        oldest: u16,
        /// The newest.
        #[serde(default = "newest")]
        newest: u16,
        /// Which client it uses: `rust 0.1.0`.
        #[serde(default)]
        client: String,
        /// The pool it works in; empty: the one the supervisor knows it by.
        #[serde(default)]
        pool: String,
    },
    /// It serves.
    Ready {},
    /// It takes no new calls: it is about to leave.
    Draining {},
    /// To every subscriber of the topic but itself.
    Emit {
        /// The topic.
        topic: String,
        /// Any JSON.
        #[serde(default)]
        data: Json,
    },
    /// It wants what is emitted on this topic.
    Subscribe {
        /// The topic.
        topic: String,
        /// What shall happen when it does not read.
        #[serde(default)]
        when_full: WhenFull,
    },
    /// It wants that no more.
    Unsubscribe {
        /// The topic.
        topic: String,
    },
    /// To one slot's worker, whether it has subscribed or not.
    Send {
        /// The slot.
        slot: u16,
        /// The topic.
        topic: String,
        /// Any JSON.
        #[serde(default)]
        data: Json,
    },
    /// To one idle worker of a pool: exactly one [`ToWorker::Answer`] or [`ToWorker::Error`]
    /// follows.
    Call {
        /// Its own number for this call; not in use by another call of it.
        id: u64,
        /// The pool; empty: its own.
        #[serde(default)]
        pool: String,
        /// The topic.
        topic: String,
        /// Any JSON.
        #[serde(default)]
        data: Json,
        /// Answer within so many milliseconds; 0: 30 seconds.
        #[serde(default)]
        timeout_ms: u32,
        /// Ask another worker if the first died before it answered.
        #[serde(default)]
        retry: bool,
    },
    /// The answer to a [`ToWorker::Call`] or [`ToWorker::Trigger`].
    Answer {
        /// Its number.
        id: u64,
        /// Any JSON.
        #[serde(default)]
        data: Json,
    },
    /// There is no answer to a [`ToWorker::Call`] or [`ToWorker::Trigger`].
    Fail {
        /// Its number.
        id: u64,
        /// Why.
        message: String,
    },
    /// It answers calls on this topic.
    Serve {
        /// The topic.
        topic: String,
        /// So many at once; 0: one.
        #[serde(default)]
        at_once: u16,
    },
    /// It answers them no more.
    Unserve {
        /// The topic.
        topic: String,
    },
    /// A measured value.
    Metric {
        /// Its name.
        name: String,
        /// What the value does to what was known.
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
        /// Its version.
        version: u64,
        /// Why it was not applied.
        #[serde(default)]
        error: Option<String>,
    },
    /// People may trigger this.
    Action {
        /// Its name.
        name: String,
    },
    /// Answered with [`ToWorker::Pong`].
    Ping {
        /// Any number.
        #[serde(default)]
        id: u64,
    },
    /// The answer to [`ToWorker::Ping`].
    Pong {
        /// Its number.
        #[serde(default)]
        id: u64,
    },
    /// A descriptor for one slot's worker. It travels beside this message (SCM_RIGHTS), at the
    /// latest with its first byte; several come in the order of their messages. A
    /// [`ToWorker::Answer`] says that it is on its way, a [`ToWorker::Error`] that it is not.
    Give {
        /// Its own number for this; not in use by a call of it.
        id: u64,
        /// The slot.
        slot: u16,
        /// The topic.
        topic: String,
        /// Any JSON.
        #[serde(default)]
        data: Json,
    },
}

/// What a worker hears.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
#[serde(rename_all = "kebab-case")]
pub enum ToWorker {
    /// The answer to [`FromWorker::Hello`].
    Welcome {
        /// The version that is spoken from now on.
        version: u16,
        /// Who it is.
        you: Peer,
        /// The app.
        app: String,
    },
    /// The last message: the channel is closed.
    Refused {
        /// Why.
        reason: String,
    },
    /// Somebody emitted or sent this.
    Event {
        /// The topic.
        topic: String,
        /// The data.
        #[serde(default)]
        data: Json,
        /// Who.
        from: Peer,
    },
    /// To be answered with [`FromWorker::Answer`] or [`FromWorker::Fail`].
    Call {
        /// The number to answer with.
        id: u64,
        /// The topic.
        topic: String,
        /// The data.
        #[serde(default)]
        data: Json,
        /// Who asks.
        from: Peer,
        /// Nobody waits for the answer after so many milliseconds.
        timeout_ms: u32,
    },
    /// The answer to its call.
    Answer {
        /// Its number for the call.
        id: u64,
        /// The data.
        #[serde(default)]
        data: Json,
    },
    /// Its call has no answer.
    Error {
        /// Its number for the call.
        id: u64,
        /// What kind of failure.
        kind: ErrorKind,
        /// A sentence for people.
        message: String,
    },
    /// Configuration that all workers share. To be answered with [`FromWorker::Applied`].
    Config {
        /// Grows with each change.
        version: u64,
        /// The values.
        #[serde(default)]
        data: Json,
    },
    /// It gets no new connections: it may finish and leave.
    Drain {},
    /// A person triggered an action. Answered like a call.
    Trigger {
        /// The number to answer with.
        id: u64,
        /// The action.
        action: String,
        /// What the person gave with it.
        #[serde(default)]
        data: Json,
    },
    /// So many messages to it were dropped, in all.
    Dropped {
        /// How many since it joined.
        count: u64,
    },
    /// Answered with [`FromWorker::Pong`].
    Ping {
        /// Any number.
        #[serde(default)]
        id: u64,
    },
    /// The answer to [`FromWorker::Ping`].
    Pong {
        /// Its number.
        #[serde(default)]
        id: u64,
    },
    /// Somebody gave it a descriptor, which travels as with [`FromWorker::Give`].
    Given {
        /// The topic.
        topic: String,
        /// The data.
        #[serde(default)]
        data: Json,
        /// Who.
        from: Peer,
    },
    /// The supervisor's primary died, and another goes on. What it was doing is lost: calls that
    /// were made before have no answer. The worker says again what lasts (what it subscribes to,
    /// serves, registers; that it is ready), for the last of it may not have been heard.
    Resumed {},
}

/// One end of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub struct Peer {
    /// The worker, never reused; 0: a person on the command line.
    pub worker: u64,
    /// Its slot.
    pub slot: u16,
    /// Its pool.
    pub pool: String,
}

/// What shall happen to a topic's messages when their reader's queue is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// The oldest are dropped, and counted.
    #[default]
    DropOldest,
    /// Those who emit wait, but not for ever.
    Wait,
}

/// What a pushed value does to what was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
#[serde(rename_all = "kebab-case")]
pub enum MetricKind {
    /// Replaces it.
    Gauge,
    /// Is added to it.
    Counter,
    /// Is one more observation.
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

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The handler said so.
    Failed,
    /// Nobody answered in time.
    TimedOut,
    /// The worker that was asked died before it answered.
    Died,
    /// Too many calls wait.
    Full,
    /// No worker ever belonged to a pool of that name.
    NoPool,
    /// The answer did not fit into the caller's queue, because the caller does not read.
    Lost,
}

impl ErrorKind {
    /// The word for it, as in JSON.
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

/// The version that both understand: the newest one.
pub fn agree(oldest: u16, newest: u16) -> Result<u16, String> {
    let common = newest.min(VERSION);
    if oldest <= newest && common >= oldest.max(OLDEST) {
        return Ok(common);
    }
    Err(format!(
        "the worker speaks versions {oldest} to {newest} of the bus, this supervisor {OLDEST} to {VERSION}: use a client of the supervisor's version"
    ))
}
