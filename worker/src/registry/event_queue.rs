//! Events that wait for their handlers.
//!
//! The queue is bounded, and drops the oldest event first. For topics whose events must not be
//! dropped (`Worker::on_all`) the thread that reads the channel waits for room instead, so that the
//! supervisor makes the senders wait. It waits for a limited time only: the handler that should
//! make room may itself wait for an answer that this thread would read.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipc::bus::Peer;

use crate::channel::batch::Batch;
use crate::sync::locked;

/// The most events that wait: as many as the supervisor holds for one reader.
const MAX_EVENTS: usize = 16 * 1024;
/// The most bytes of their data: 16 MiB, twice what the supervisor holds for one reader.
const MAX_BYTES: usize = 16 << 20;
/// How long the thread that reads waits for room. Afterwards events are dropped, until the handlers
/// take some.
const ROOM_TIMEOUT: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct EventQueue {
    waiting: Mutex<Waiting>,
    /// Signalled when an event comes, and at the end.
    wake: Condvar,
    /// Signalled when the handlers have taken events, and at the end.
    room: Condvar,
    /// The topics whose events must not be dropped.
    lossless: Mutex<BTreeSet<String>>,
    /// The events that were dropped.
    pub(crate) dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    batches: VecDeque<Batch>,
    /// The events in the batches.
    count: usize,
    /// The bytes of their data.
    bytes: usize,
    /// An empty batch, kept for its memory.
    spare: Batch,
    /// Whether the handlers' thread sleeps. Waking it costs more than an event.
    asleep: bool,
    /// Whether a thread waits for room.
    awaited: bool,
    /// Whether a thread got no room in time, and the handlers have taken nothing since.
    stalled: bool,
    over: bool,
}

impl Waiting {
    fn is_full(&self) -> bool {
        self.count >= MAX_EVENTS || self.bytes >= MAX_BYTES
    }

    fn has_room_for(&self, batch: &Batch) -> bool {
        let (count, bytes) = (self.count + batch.len(), self.bytes + batch.bytes());
        self.count == 0 || (count <= MAX_EVENTS && bytes <= MAX_BYTES)
    }
}

impl EventQueue {
    /// Stops dropping events of this topic. Returns whether it did drop them before.
    pub(crate) fn stop_dropping(&self, topic: &str) -> bool {
        locked(&self.lossless).insert(topic.to_owned())
    }

    /// Forgets [`EventQueue::stop_dropping`], because the topic has no handler any more.
    pub(crate) fn allow_dropping(&self, topic: &str) {
        locked(&self.lossless).remove(topic);
    }

    /// Adds the events of the channel, and empties the batch. Waits for room: see the module.
    pub(crate) fn push_from_channel(&self, batch: &mut Batch) {
        let mut waiting = locked(&self.waiting);
        if !waiting.has_room_for(batch) && !waiting.stalled && self.has_lossless(batch) {
            waiting.awaited = true;
            let (waited, timeout) = self
                .room
                .wait_timeout_while(waiting, ROOM_TIMEOUT, |w| !w.has_room_for(batch) && !w.over)
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

    fn has_lossless(&self, batch: &Batch) -> bool {
        let lossless = locked(&self.lossless);
        !lossless.is_empty() && batch.parts().any(|part| lossless.contains(part.topic))
    }

    /// Adds one event.
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
        while waiting.count > MAX_EVENTS || waiting.bytes > MAX_BYTES {
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

    /// Waits for the next batch. `done`: an empty batch, whose memory is used again. `None`: the
    /// queue is closed and empty.
    pub(crate) fn take(&self, done: Batch) -> Option<Batch> {
        let mut waiting = locked(&self.waiting);
        waiting.spare = done;
        while waiting.batches.is_empty() {
            if waiting.over {
                return None;
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
        Some(batch)
    }

    /// Ends [`EventQueue::take`] once the queue is empty.
    pub(crate) fn close(&self) {
        locked(&self.waiting).over = true;
        self.wake.notify_all();
        self.room.notify_all();
    }
}
