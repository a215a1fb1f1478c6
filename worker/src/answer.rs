//! Waiting for the answer to one's own call.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use crate::bus::{Inner, locked};
use crate::calls::{Answer, Mine};
use crate::hear::Went;
use crate::reading::Patience;

/// Where the answer comes; `None` in it: nobody will answer.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    state: Mutex<State>,
    came: Condvar,
}

#[derive(Debug, Default)]
struct State {
    answer: Option<Option<Answer>>,
    /// Nobody has to be woken who reads it itself.
    asleep: bool,
}

impl Slot {
    pub(crate) fn put(&self, answer: Option<Answer>) {
        let mut state = locked(&self.state);
        state.answer = Some(answer);
        if state.asleep {
            self.came.notify_one();
        }
    }

    fn came(&self) -> bool {
        locked(&self.state).answer.is_some()
    }

    fn wait(&self, deadline: Instant) -> Option<Option<Answer>> {
        let mut state = locked(&self.state);
        loop {
            if let Some(answer) = state.answer.take() {
                return Some(answer);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state.asleep = true;
            (state, _) =
                self.came.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
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
            let mut went = Went::Some;
            while !slot.came() && went != Went::Over && Instant::now() < deadline {
                went = self.read_once(&mut lead, Patience::Until(deadline), &mut Mine::default());
            }
        }
        slot.wait(deadline)
    }
}
