//! Waiting for the answer to one's own call.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use crate::bus::{Inner, locked};
use crate::calls::{Answer, Mine};
use crate::reading::Patience;

/// Where the answer comes; `None` in it: nobody will answer.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    answer: Mutex<Option<Option<Answer>>>,
    came: Condvar,
}

impl Slot {
    pub(crate) fn put(&self, answer: Option<Answer>) {
        *locked(&self.answer) = Some(answer);
        self.came.notify_one();
    }

    fn came(&self) -> bool {
        locked(&self.answer).is_some()
    }

    fn wait(&self, deadline: Instant) -> Option<Option<Answer>> {
        let mut answer = locked(&self.answer);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if answer.is_some() || left.is_zero() {
                return answer.take();
            }
            (answer, _) =
                self.came.wait_timeout(answer, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Inner {
    /// Waits for the answer, and reads the channel meanwhile if nobody else does. `None`: it did
    /// not come in time.
    pub(crate) fn await_answer(
        self: &Arc<Self>,
        slot: &Slot,
        deadline: Instant,
    ) -> Option<Option<Answer>> {
        if let Some(mut lead) = self.reading.as_ref().and_then(|reading| reading.lead(false)) {
            while !slot.came() && !lead.reader.over && Instant::now() < deadline {
                self.read_once(&mut lead, Patience::Until(deadline), &mut Mine::default());
            }
        }
        slot.wait(deadline)
    }
}
