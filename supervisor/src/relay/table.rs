//! The calls without an answer: by number, by deadline, and those that wait for a worker.

use std::collections::{BTreeMap, BTreeSet};

use ipc::bus::{Json, Peer};

use crate::base::ids::WorkerId;
use crate::base::time::Time;

/// The most bytes of a call's frame besides its data.
pub(super) const AROUND: usize = 2048;

/// The party that waits for an answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Caller {
    Worker { worker: WorkerId, id: u64 },
    Person { ticket: u64, slot: u16 },
}

/// One call without an answer.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) caller: Caller,
    pub(super) from: Peer,
    pub(super) pool: String,
    pub(super) topic: String,
    /// Kept until a worker has the call, or for as long as another worker may get it.
    pub(super) data: Option<Json>,
    pub(super) since: Time,
    pub(super) deadline: Time,
    pub(super) retry: bool,
    pub(super) tries: u8,
    pub(super) on: Option<WorkerId>,
}

impl Call {
    pub(super) fn bytes(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.text().len() + AROUND)
    }
}

/// All calls of an app.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) next: u64,
    pub(super) all: BTreeMap<u64, Call>,
    pub(super) deadlines: BTreeSet<(Time, u64)>,
    /// The calls that wait for a worker, by pool and topic; the oldest first.
    pub(super) waiting: BTreeMap<(String, String), BTreeSet<u64>>,
    pub(super) bytes: usize,
}

impl Calls {
    pub(super) fn add(&mut self, call: Call) -> u64 {
        self.next += 1;
        self.bytes += call.bytes();
        self.deadlines.insert((call.deadline, self.next));
        self.all.insert(self.next, call);
        self.next
    }

    pub(super) fn wait(&mut self, id: u64) {
        let Some(call) = self.all.get_mut(&id) else { return };
        call.on = None;
        self.waiting.entry((call.pool.clone(), call.topic.clone())).or_default().insert(id);
    }

    pub(super) fn wait_no_more(&mut self, id: u64) {
        let Some(call) = self.all.get(&id) else { return };
        let key = (call.pool.clone(), call.topic.clone());
        if let Some(ids) = self.waiting.get_mut(&key) {
            ids.remove(&id);
            if ids.is_empty() {
                self.waiting.remove(&key);
            }
        }
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Call> {
        self.wait_no_more(id);
        let call = self.all.remove(&id)?;
        self.bytes -= call.bytes();
        self.deadlines.remove(&(call.deadline, id));
        Some(call)
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.bytes
    }
}
