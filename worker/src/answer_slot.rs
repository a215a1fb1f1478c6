//! The place where a thread waits for the answer to its call.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use crate::state::pending_calls::Answer;
use crate::sync::locked;

/// See the module. The inner `None` in it: the channel has ended.
#[derive(Debug, Default)]
pub(crate) struct AnswerSlot {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    answer: Option<Option<Answer>>,
    /// Whether the thread sleeps. One that reads the channel itself needs no signal.
    asleep: bool,
}

impl AnswerSlot {
    pub(crate) fn put(&self, answer: Option<Answer>) {
        let mut state = locked(&self.state);
        state.answer = Some(answer);
        if state.asleep {
            self.arrived.notify_one();
        }
    }

    pub(crate) fn is_filled(&self) -> bool {
        locked(&self.state).answer.is_some()
    }

    /// Waits for the answer. `None`: it did not come in time.
    pub(crate) fn wait(&self, deadline: Instant) -> Option<Option<Answer>> {
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
                self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
