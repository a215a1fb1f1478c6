//! Descriptors for other workers: an open file, a pipe, a connection.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ipc::bus::{FromWorker, Json};
use serde::Serialize;

use super::calls::result;
use super::handle::Worker;
use crate::answer_slot::AnswerSlot;
use crate::call_error::CallError;
use crate::channel::message;
use crate::contain::contained;
use crate::reading::await_answer;
use crate::registry::{Given, Outcome};

/// How long the supervisor may take to say whether it passes a descriptor on. It answers within
/// milliseconds; while a new primary takes over, within a few seconds.
const GIVE_TIMEOUT: Duration = Duration::from_secs(10);

impl Worker {
    /// Gives a copy of a descriptor to one slot's worker, with data on a topic. Returns when the
    /// descriptor is on its way; an error says why it is not. At most once, like everything on the
    /// bus.
    pub fn give<T: Serialize + ?Sized>(
        &self,
        slot: u16,
        topic: &str,
        data: &T,
        fd: impl AsFd,
    ) -> Result<(), CallError> {
        let Some(channel) = self.client.channel.as_ref().filter(|_| !self.is_alone()) else {
            return Err(CallError::Alone);
        };
        let data = Json::of(data)?;
        let message = |id, data| FromWorker::Give { id, slot, topic: topic.to_owned(), data };
        message::check(&message(0, data.clone()))?;
        let answer_slot = Arc::new(AnswerSlot::default());
        let filled = Arc::clone(&answer_slot);
        let calls = &self.client.state.calls;
        let id = calls.add(Box::new(move |answer| filled.put(answer)));
        if let Err(error) = channel.send_descriptor(&message(id, data), fd.as_fd()) {
            calls.remove(id);
            return Err(error.into());
        }
        match await_answer(&self.client, &answer_slot, Instant::now() + GIVE_TIMEOUT) {
            Some(answer) => result(answer),
            None => {
                calls.remove(id);
                Err(CallError::TimedOut("the supervisor did not answer".to_owned()))
            }
        }
    }

    /// Runs the handler, in a thread of its own, for each descriptor that another worker gives to
    /// this one on the topic. The client closes descriptors of topics without a handler, and those
    /// that come while 16 wait for their handler.
    pub fn on_given<R: Outcome>(
        &self,
        topic: &str,
        handler: impl Fn(Given) -> R + Send + 'static,
    ) -> io::Result<()> {
        message::check(&FromWorker::Unsubscribe { topic: topic.to_owned() })?;
        let receiver = self.client.registry.descriptors.handle(topic);
        thread::Builder::new().name("bus-given".to_owned()).spawn(move || {
            while let Ok(given) = receiver.recv() {
                let topic = given.topic.clone();
                if let Some(why) = contained(|| handler(given).failure()) {
                    eprintln!("supervisor: the handler of descriptors on {topic:?} failed: {why}");
                }
            }
        })?;
        Ok(())
    }
}
