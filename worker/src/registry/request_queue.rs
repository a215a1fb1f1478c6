//! Requests that wait for the threads that answer them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::request::Request;
use crate::sync::locked;

/// The requests of one topic. Bounded: the supervisor gives a worker no more than it asked for, so
/// the queue refuses what goes beyond that.
#[derive(Debug)]
pub(crate) struct RequestQueue {
    state: Mutex<Waiting>,
    more: Condvar,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: VecDeque<Request>,
    /// The threads that sleep in `take`.
    asleep: usize,
    over: bool,
}

impl RequestQueue {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { state: Mutex::default(), more: Condvar::new(), capacity }
    }

    /// Adds a request. Gives it back if the queue is full or closed.
    pub(crate) fn put(&self, request: Request) -> Option<Request> {
        let mut state = locked(&self.state);
        if state.requests.len() >= self.capacity || state.over {
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

    /// Waits for the next request. `None`: the queue is closed and empty.
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

    /// Whether [`RequestQueue::take`] would return at once.
    pub(crate) fn is_busy(&self) -> bool {
        let state = locked(&self.state);
        !state.requests.is_empty() || state.over
    }

    /// Refuses further requests, and ends the threads when the queue is empty.
    pub(crate) fn close(&self) {
        locked(&self.state).over = true;
        self.more.notify_all();
    }
}

/// The queues of all topics, or of all actions.
#[derive(Debug, Default)]
pub(crate) struct RequestQueues(Mutex<BTreeMap<String, Arc<RequestQueue>>>);

impl RequestQueues {
    /// Sets the queue of a topic, and closes the one before it.
    pub(crate) fn insert(&self, topic: &str, queue: Arc<RequestQueue>) {
        if let Some(before) = locked(&self.0).insert(topic.to_owned(), queue) {
            before.close();
        }
    }

    /// Removes and closes the queue of a topic.
    pub(crate) fn remove(&self, topic: &str) {
        if let Some(queue) = locked(&self.0).remove(topic) {
            queue.close();
        }
    }

    pub(crate) fn contains(&self, topic: &str) -> bool {
        locked(&self.0).contains_key(topic)
    }

    /// Closes all queues.
    pub(crate) fn close(&self) {
        locked(&self.0).values().for_each(|queue| queue.close());
    }

    /// Puts a request into the queue of its topic, or refuses it.
    pub(crate) fn put(&self, request: Request) {
        let queue = locked(&self.0).get(&request.topic).map(Arc::clone);
        let Some(queue) = queue else {
            let why = format!("this worker does not serve {:?}", request.topic);
            return request.reply.answer(Err(why));
        };
        if let Some(request) = queue.put(request) {
            request.reply.answer(Err("this worker has too many requests".to_owned()));
        }
    }
}
