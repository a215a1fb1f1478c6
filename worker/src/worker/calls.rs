//! Calls to other workers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc::bus::{FromWorker, Json};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::handle::Worker;
use crate::answer_slot::AnswerSlot;
use crate::call_error::CallError;
use crate::channel::message;
use crate::reading::await_answer;
use crate::registry::{Reply, Request};
use crate::state::pending_calls::{Answer, CALL_TIMEOUT, OnAnswer};

/// How much longer than the supervisor the client waits, so that the caller gets the supervisor's
/// more precise error.
const GRACE: Duration = Duration::from_secs(2);
/// The longest time limit of a call.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// Which pool to call, and how long to wait.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    pool: &'a str,
    topic: &'a str,
    timeout: Duration,
    retry: bool,
}

impl<'a> Call<'a> {
    /// Calls an idle worker of this pool (empty: the caller's own), within 30 seconds, and without
    /// a retry.
    pub fn to(pool: &'a str, topic: &'a str) -> Self {
        Self { pool, topic, timeout: CALL_TIMEOUT, retry: false }
    }

    /// Sets the time limit: 1 ms to an hour.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: timeout.clamp(Duration::from_millis(1), MAX_TIMEOUT), ..self }
    }

    /// Asks another worker if the first one dies before it answers. For requests that may be
    /// carried out twice.
    pub fn retry(self) -> Self {
        Self { retry: true, ..self }
    }
}

impl Worker {
    /// Asks an idle worker of a pool, and waits for its answer.
    pub fn call<A: DeserializeOwned>(
        &self,
        pool: &str,
        topic: &str,
        data: &(impl Serialize + ?Sized),
    ) -> Result<A, CallError> {
        self.call_with(&Call::to(pool, topic), data)
    }

    /// As [`Worker::call`], with another time limit or with a retry.
    pub fn call_with<A: DeserializeOwned>(
        &self,
        call: &Call<'_>,
        data: &(impl Serialize + ?Sized),
    ) -> Result<A, CallError> {
        let slot = Arc::new(AnswerSlot::default());
        let filled = Arc::clone(&slot);
        let on_answer = Box::new(move |answer| filled.put(answer));
        let id = self.start_call(call, Json::of(data)?, on_answer)?;
        match await_answer(&self.client, &slot, Instant::now() + call.timeout + GRACE) {
            Some(answer) => result(answer),
            None => {
                self.client.state.calls.remove(id);
                Err(CallError::TimedOut("the supervisor did not answer either".to_owned()))
            }
        }
    }

    /// Sends a request, and returns the number of the call.
    pub(super) fn start_call(
        &self,
        call: &Call<'_>,
        data: Json,
        on_answer: OnAnswer,
    ) -> Result<u64, CallError> {
        if self.is_alone() {
            self.call_locally(call, data, on_answer);
            return Ok(0);
        }
        let mut message = FromWorker::Call {
            id: 0,
            pool: call.pool.to_owned(),
            topic: call.topic.to_owned(),
            data,
            timeout_ms: u32::try_from(call.timeout.as_millis()).unwrap_or(u32::MAX),
            retry: call.retry,
        };
        message::check(&message)?;
        let number = self.client.state.calls.add(on_answer);
        if let FromWorker::Call { id, .. } = &mut message {
            *id = number;
        }
        if let Err(error) = self.client.send(&message, true) {
            self.client.state.calls.remove(number);
            return Err(error.into());
        }
        Ok(number)
    }

    fn call_locally(&self, call: &Call<'_>, data: Json, on_answer: OnAnswer) {
        let topics = &self.client.registry.topics;
        if !topics.contains(call.topic) {
            return on_answer(None);
        }
        let (topic, from) = (call.topic.to_owned(), self.peer());
        let deadline = Instant::now() + call.timeout;
        topics.put(Request { topic, from, deadline, data, reply: Reply::Local(on_answer) });
    }
}

/// The result of a call. `None`: the channel has ended.
pub(super) fn result<A: DeserializeOwned>(answer: Option<Answer>) -> Result<A, CallError> {
    match answer {
        Some(Ok(data)) => Ok(data.read()?),
        Some(Err(failure)) => Err(CallError::of(failure)),
        None => Err(CallError::Alone),
    }
}
