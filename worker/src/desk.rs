//! Where requests of one topic wait for the threads that answer them. Bounded: the supervisor gives
//! no worker more than it takes, so what comes beyond that is refused.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::bus::locked;
use crate::question::Request;

/// See the module.
#[derive(Debug)]
pub(crate) struct Desk {
    state: Mutex<Waiting>,
    more: Condvar,
    most: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: VecDeque<Request>,
    asleep: usize,
    over: bool,
}

impl Desk {
    pub(crate) fn new(most: usize) -> Self {
        Self { state: Mutex::default(), more: Condvar::new(), most }
    }

    /// Gives it back if too many wait.
    pub(crate) fn put(&self, request: Request) -> Option<Request> {
        let mut state = locked(&self.state);
        if state.requests.len() >= self.most || state.over {
            return Some(request);
        }
        state.requests.push_back(request);
        let asleep = state.asleep > 0;
        drop(state);
        if asleep {
            self.more.notify_one();
        }
        None
    }

    /// Waits for the next one; `None`: there will be none.
    pub(crate) fn take(&self) -> Option<Request> {
        let mut state = locked(&self.state);
        loop {
            if let Some(request) = state.requests.pop_front() {
                return Some(request);
            }
            if state.over {
                return None;
            }
            state.asleep += 1;
            state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.asleep -= 1;
        }
    }

    /// Whether [`Desk::take`] would not wait.
    pub(crate) fn is_busy(&self) -> bool {
        let state = locked(&self.state);
        !state.requests.is_empty() || state.over
    }

    /// Nothing more comes.
    pub(crate) fn close(&self) {
        locked(&self.state).over = true;
        self.more.notify_all();
    }
}
