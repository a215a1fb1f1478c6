//! Topics and actions that this worker serves, each with threads of its own.

use std::fmt::Display;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread;

use ipc::bus::{FromWorker, Json};
use serde::Serialize;

use super::handle::Worker;
use crate::channel::message;
use crate::client::Client;
use crate::contain::panic_text;
use crate::reading::await_request;
use crate::registry::{Request, RequestQueue};

/// The most requests of one topic that a worker works on at a time. The supervisor allows no more.
const MAX_AT_ONCE: u16 = 64;

impl Worker {
    /// Answers requests on this topic, up to `at_once` (1 to 64) at a time, each in a thread of its
    /// own. The caller gets the handler's error or panic as [`crate::CallError::Failed`].
    pub fn serve<A: Serialize, E: Display>(
        &self,
        topic: &str,
        at_once: u16,
        handler: impl Fn(&Request) -> Result<A, E> + Send + Sync + 'static,
    ) -> io::Result<()> {
        let at_once = at_once.clamp(1, MAX_AT_ONCE);
        let message = FromWorker::Serve { topic: topic.to_owned(), at_once };
        message::check(&message)?;
        let reads = Arc::downgrade(&self.client);
        let queue = start_threads(topic, at_once, reads, handler)?;
        self.client.registry.topics.insert(topic, queue);
        self.client.send(&message, true)
    }

    /// Stops answering requests on this topic. Those that came already are still answered.
    pub fn unserve(&self, topic: &str) -> io::Result<()> {
        self.client.registry.topics.remove(topic);
        self.client.send(&FromWorker::Unserve { topic: topic.to_owned() }, true)
    }

    /// Lets people trigger this: `supervisor trigger NAME ACTION`.
    pub fn action<A: Serialize, E: Display>(
        &self,
        name: &str,
        handler: impl Fn(&Request) -> Result<A, E> + Send + Sync + 'static,
    ) -> io::Result<()> {
        let message = FromWorker::Action { name: name.to_owned() };
        message::check(&message)?;
        let queue = start_threads(name, 1, Weak::new(), handler)?;
        self.client.registry.actions.insert(name, queue);
        self.client.send(&message, true)
    }
}

/// Starts threads that answer the requests of a queue, until it is closed. `reads`: the client
/// whose channel they read while they have no request.
fn start_threads<A: Serialize, E: Display>(
    topic: &str,
    count: u16,
    reads: Weak<Client>,
    handler: impl Fn(&Request) -> Result<A, E> + Send + Sync + 'static,
) -> io::Result<Arc<RequestQueue>> {
    let queue = Arc::new(RequestQueue::new(usize::from(count) * 2));
    let handler = Arc::new(handler);
    for _ in 0..count {
        let (queue, handler) = (Arc::clone(&queue), Arc::clone(&handler));
        let (reads, topic) = (reads.clone(), topic.to_owned());
        let name: String = format!("bus-{topic}").chars().take(15).collect();
        thread::Builder::new().name(name).spawn(move || {
            while let Some(request) = next(&reads, &queue, &topic) {
                let answer = catch_unwind(AssertUnwindSafe(|| {
                    let answer = handler(&request).map_err(|error| error.to_string())?;
                    Json::of(&answer).map_err(|error| error.to_string())
                }));
                let answer = answer.unwrap_or_else(|panic| Err(panic_text(panic.as_ref())));
                request.reply.answer(answer);
            }
        })?;
    }
    Ok(queue)
}

/// The next request: from the channel, if no other thread reads it, else from the queue.
fn next(reads: &Weak<Client>, queue: &RequestQueue, topic: &str) -> Option<Request> {
    let client = reads.upgrade().filter(|_| !queue.is_busy());
    client.and_then(|client| await_request(&client, queue, topic)).or_else(|| queue.take())
}
