//! Calls of this worker that have no answer yet.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipc::bus::{ErrorKind, Json};

use crate::sync::locked;

/// The time limit of a call that sets none, and of a request that comes without one.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What became of a call when the primary died.
const LOST: &str = "the supervisor's primary died while the call was under way: whether it was \
     carried out is not known";

/// An answer, or why there is none.
pub(crate) type Answer = Result<Json, (ErrorKind, String)>;
/// Runs once, with the answer. `None`: the channel has ended.
pub(crate) type OnAnswer = Box<dyn FnOnce(Option<Answer>) + Send>;

/// See the module.
#[derive(Default)]
pub(crate) struct PendingCalls {
    next: AtomicU64,
    waiting: Mutex<BTreeMap<u64, OnAnswer>>,
    over: Mutex<bool>,
}

impl PendingCalls {
    /// Adds a call, and returns its number.
    pub(crate) fn add(&self, on_answer: OnAnswer) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        // `end` sets it under the same lock, so no call is forgotten.
        let over = locked(&self.over);
        if *over {
            drop(over);
            on_answer(None);
            return id;
        }
        locked(&self.waiting).insert(id, on_answer);
        id
    }

    /// Removes a call whose answer nobody wants any more.
    pub(crate) fn remove(&self, id: u64) {
        locked(&self.waiting).remove(&id);
    }

    /// An answer came. Returns whether it belongs to a call.
    pub(crate) fn answer(&self, id: u64, answer: Answer) -> bool {
        let on_answer = locked(&self.waiting).remove(&id);
        on_answer.map(|on_answer| on_answer(Some(answer))).is_some()
    }

    /// The primary died: the calls under way get no answer.
    pub(crate) fn lose_all(&self) {
        let all = std::mem::take(&mut *locked(&self.waiting));
        for on_answer in all.into_values() {
            on_answer(Some(Err((ErrorKind::Lost, LOST.to_owned()))));
        }
    }

    /// The channel has ended: no call gets an answer any more.
    pub(crate) fn end(&self) {
        *locked(&self.over) = true;
        let all = std::mem::take(&mut *locked(&self.waiting));
        for on_answer in all.into_values() {
            on_answer(None);
        }
    }
}
