//! Events: to emit them, and to handle them.

use std::io;

use ipc::bus::{FromWorker, Json, WhenFull, check};
use serde::Serialize;

use super::handle::Worker;
use crate::channel::message;
use crate::registry::{Event, HandlerId, Outcome};

impl Worker {
    /// Runs the handler for each event of this topic, in a thread of the client. While it does not
    /// keep up, the oldest events are dropped.
    pub fn on<R: Outcome>(
        &self,
        topic: &str,
        handler: impl Fn(&Event) -> R + Send + Sync + 'static,
    ) -> io::Result<HandlerId> {
        self.listen(topic, false, WhenFull::DropOldest, handler)
    }

    /// As [`Worker::on`]. While the handler does not keep up, the workers that emit have to wait,
    /// for a few seconds at most.
    pub fn on_all<R: Outcome>(
        &self,
        topic: &str,
        handler: impl Fn(&Event) -> R + Send + Sync + 'static,
    ) -> io::Result<HandlerId> {
        self.listen(topic, false, WhenFull::Wait, handler)
    }

    /// As [`Worker::on`], for the next event only.
    pub fn once<R: Outcome>(
        &self,
        topic: &str,
        handler: impl Fn(&Event) -> R + Send + Sync + 'static,
    ) -> io::Result<HandlerId> {
        self.listen(topic, true, WhenFull::DropOldest, handler)
    }

    fn listen<R: Outcome>(
        &self,
        topic: &str,
        once: bool,
        when_full: WhenFull,
        handler: impl Fn(&Event) -> R + Send + Sync + 'static,
    ) -> io::Result<HandlerId> {
        let subscribe = FromWorker::Subscribe { topic: topic.to_owned(), when_full };
        message::check(&subscribe)?;
        let registry = &self.client.registry;
        let (id, first) = registry.handlers.add(topic, once, handler);
        let stricter = when_full == WhenFull::Wait && registry.events.stop_dropping(topic);
        if first || stricter {
            self.client.send(&subscribe, true)?;
        }
        Ok(id)
    }

    /// Removes a handler.
    pub fn off(&self, handler: HandlerId) {
        if let Some(topic) = self.client.registry.handlers.remove(handler) {
            self.client.unsubscribe(&topic);
        }
    }

    /// Removes all handlers of a topic.
    pub fn off_all(&self, topic: &str) {
        if self.client.registry.handlers.clear(topic) {
            self.client.unsubscribe(topic);
        }
    }

    /// The number of handlers that a topic has in this worker.
    pub fn listener_count(&self, topic: &str) -> usize {
        self.client.registry.handlers.count(topic)
    }

    /// The number of handlers of one topic beyond which a leak is reported, instead of 10.
    /// 0: never.
    pub fn set_max_listeners(&self, most: usize) {
        self.client.registry.handlers.set_max_listeners(most);
    }

    /// Gives data to all handlers of a topic in all workers, this one included. At most once: a
    /// worker that has not joined, or that is too slow, misses it.
    pub fn emit<T: Serialize + ?Sized>(&self, topic: &str, data: &T) -> io::Result<()> {
        let data = Json::of(data)?;
        check::event(topic, data.text()).map_err(message::invalid)?;
        let registry = &self.client.registry;
        if registry.handlers.count(topic) > 0 {
            registry.events.push(topic, data.text(), self.peer());
        }
        self.client.channel.as_ref().map_or(Ok(()), |channel| channel.emit(topic, data.text()))
    }

    /// Gives data to the handlers of a topic in one slot's worker.
    pub fn send<T: Serialize + ?Sized>(&self, slot: u16, topic: &str, data: &T) -> io::Result<()> {
        let message = FromWorker::Send { slot, topic: topic.to_owned(), data: Json::of(data)? };
        message::check(&message)?;
        self.client.send(&message, false)
    }
}
