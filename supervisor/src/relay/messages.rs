//! The events of the relay, its actions, and what it reports about itself.

use ipc::bus::codec::Codec;
use ipc::bus::{ErrorKind, FromWorker, Json};
use serde::{Deserialize, Serialize};

use crate::base::ids::{Generation, WorkerId};

/// An event of the relay.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// A worker has a channel.
    Joined { worker: WorkerId, slot: u16, generation: Generation, pool: String },
    /// The worker sent a message.
    Spoke { worker: WorkerId, codec: Codec, message: FromWorker },
    /// It gets no new connections any more.
    Draining { worker: WorkerId },
    /// Its channel has ended.
    Left { worker: WorkerId },
}

/// An action of the relay.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Read no more from this worker.
    Pause(WorkerId),
    /// Read from it again.
    Resume(WorkerId),
    /// Write what fits now, and close its channel.
    Cut { worker: WorkerId, why: String },
    /// The worker announced that it serves.
    Ready(WorkerId),
    /// The worker announced that it is about to leave.
    Leaving(WorkerId),
    /// An event for clients that follow the bus.
    Heard { from: WorkerId, topic: String, data: String },
    /// The answer of a worker to a trigger.
    Answered { ticket: u64, slot: u16, answer: Result<Json, Failure> },
    /// A worker has applied the shared values, or refused them.
    Applied { worker: WorkerId, version: u64, error: Option<String> },
    /// A warning for people.
    Warn(String),
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
}

/// What has happened since the app was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    /// Events that workers emitted or sent.
    pub(crate) emitted: u64,
    /// How often one of them was queued for a worker.
    pub(crate) delivered: u64,
    /// Dropped because the reader's queue was full.
    pub(crate) dropped_full: u64,
    /// Dropped because the reader left before it had read them.
    pub(crate) dropped_gone: u64,
    /// Dropped because the primary in which they waited died.
    pub(crate) dropped_ended: u64,
    /// Emitted or sent while there was no reader.
    pub(crate) unheard: u64,
    /// Calls that workers made.
    pub(crate) calls: u64,
    /// Those with an answer.
    pub(crate) answered: u64,
    /// Calls that ended with an error, for any reason.
    pub(crate) failed: u64,
    /// Of these: no worker answered in time.
    pub(crate) timed_out: u64,
    /// Of these: the worker died.
    pub(crate) died: u64,
    /// Of these: too many calls waited.
    pub(crate) full: u64,
    /// Calls given to another worker because the first died.
    pub(crate) retried: u64,
    /// Answers whose caller no longer waited.
    pub(crate) late: u64,
    /// Workers that were cut off.
    pub(crate) cut: u64,
}

/// One member, for people.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MemberStatus {
    pub(crate) worker: WorkerId,
    pub(crate) slot: u16,
    pub(crate) client: String,
    pub(crate) pool: String,
    pub(crate) said: u64,
    pub(crate) heard: u64,
    pub(crate) lost: u64,
    pub(crate) waiting: usize,
    pub(crate) waiting_bytes: usize,
    pub(crate) working: usize,
    pub(crate) subscriptions: usize,
}
