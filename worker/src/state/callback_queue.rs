//! Callbacks of the program that wait for their thread.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::sync::locked;

/// What the thread runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Callback {
    /// The handler of the shared values.
    Config,
    /// The handlers of draining.
    Drain,
}

/// At most one callback of each kind, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct CallbackQueue(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    callbacks: VecDeque<Callback>,
    /// Whether a thread runs callbacks.
    running: bool,
}

impl CallbackQueue {
    /// Adds a callback. Returns whether the caller must start the thread.
    pub(crate) fn push(&self, callback: Callback) -> bool {
        let mut waiting = locked(&self.0);
        waiting.callbacks.retain(|other| *other != callback);
        waiting.callbacks.push_back(callback);
        !std::mem::replace(&mut waiting.running, true)
    }

    /// The next callback. `None`: the thread must end.
    pub(crate) fn pop(&self) -> Option<Callback> {
        let mut waiting = locked(&self.0);
        let next = waiting.callbacks.pop_front();
        waiting.running = next.is_some();
        next
    }
}
