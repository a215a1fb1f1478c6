//! Reads messages of the supervisor, and acts on them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ipc::bus::codec::DecodeError;
use ipc::bus::event::Found;
use ipc::bus::{FromWorker, Json, Peer, ToWorker};

use crate::callbacks;
use crate::channel::inbox::{Block, Read, Reader, Turn};
use crate::client::Client;
use crate::registry::{Reply, Request, RequestQueue};
use crate::state::Callback;
use crate::state::pending_calls::CALL_TIMEOUT;

/// The result of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Bytes came, and the channel probably holds more.
    More,
    Some,
    Nothing,
    /// The channel has ended.
    Over,
}

/// What the reading thread takes for itself, and whether it may have woken others.
#[derive(Debug, Default)]
pub(crate) struct Claim<'a> {
    /// The topic that it serves, and the queue of it. `None`: it takes no request.
    pub(crate) serves: Option<(&'a str, &'a RequestQueue)>,
    /// The first request of that topic.
    pub(crate) request: Option<Request>,
    /// Whether a message was for another thread, which can now read by itself.
    pub(crate) for_others: bool,
}

impl Claim<'_> {
    /// Whether the thread takes this request. It does not if the program has called `unserve`.
    fn takes(&self, request: &Request) -> bool {
        self.request.is_none()
            && self.serves.is_some_and(|(topic, queue)| topic == request.topic && !queue.is_busy())
    }
}

/// Reads once, and acts on all whole messages.
pub(crate) fn read_once(
    client: &Arc<Client>,
    turn: &mut Turn<'_>,
    block: Block,
    claim: &mut Claim<'_>,
) -> Progress {
    if turn.reader().over {
        return Progress::Over;
    }
    let (done, progress) = match turn.read(block) {
        Ok(Read::Bytes { fds, more }) => {
            client.registry.descriptors.keep(fds);
            let progress = if more { Progress::More } else { Progress::Some };
            (dispatch_all(client, turn.reader(), claim), progress)
        }
        Ok(Read::Nothing) => (Ok(()), Progress::Nothing),
        Ok(Read::End) | Err(_) => (Err(None), Progress::Over),
    };
    if let Err(error) = done {
        if let Some(error) = error {
            eprintln!("supervisor: cannot read a message of the supervisor: {error}");
        }
        turn.reader().over = true;
        client.end();
        return Progress::Over;
    }
    progress
}

fn dispatch_all(
    client: &Arc<Client>,
    reader: &mut Reader,
    claim: &mut Claim<'_>,
) -> Result<(), Option<DecodeError>> {
    loop {
        let other = match reader.decoder.next_found() {
            Ok(Some(Found::Event(event))) => {
                reader.events.add_found(event)?;
                continue;
            }
            Ok(Some(Found::Other(message))) => Ok(Some(message)),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        if reader.events.len() > 0 {
            client.registry.events.push_from_channel(&mut reader.events);
        }
        match other? {
            Some(message) => dispatch(client, message, claim),
            None => return Ok(()),
        }
    }
}

fn dispatch(client: &Arc<Client>, message: ToWorker, claim: &mut Claim<'_>) {
    let state = &client.state;
    match message {
        ToWorker::Welcome { you, .. } => state.set_welcome(you),
        ToWorker::Refused { reason } => {
            eprintln!("supervisor: this worker was cut off from the bus: {reason}");
            state.set_refused(reason);
        }
        ToWorker::Event { topic, data, from } => {
            client.registry.events.push(&topic, data.text(), from);
        }
        ToWorker::Call { id, topic, data, from, timeout_ms } => {
            let timeout = Duration::from_millis(timeout_ms.into());
            let request = request(client, id, topic, data, from, timeout);
            if claim.takes(&request) {
                claim.request = Some(request);
            } else {
                claim.for_others = true;
                client.registry.topics.put(request);
            }
        }
        ToWorker::Trigger { id, action, data } => {
            let request = request(client, id, action, data, Peer::default(), CALL_TIMEOUT);
            client.registry.actions.put(request);
        }
        ToWorker::Answer { id, data } => claim.for_others |= state.calls.answer(id, Ok(data)),
        ToWorker::Error { id, kind, message } => {
            claim.for_others |= state.calls.answer(id, Err((kind, message)));
        }
        ToWorker::Config { version, data } => callbacks::learn(client, version, data),
        ToWorker::Drain {} => {
            state.set_draining();
            callbacks::schedule(client, Callback::Drain);
        }
        ToWorker::Dropped { count } => state.dropped.store(count, Ordering::Relaxed),
        ToWorker::Ping { id } => {
            // The next read notices the end of the channel.
            let _ = client.send(&FromWorker::Pong { id }, true);
        }
        ToWorker::Resumed {} => client.resume(),
        ToWorker::Pong { .. } => {}
        ToWorker::Given { topic, data, from } => {
            client.registry.descriptors.claim(topic, data, from);
        }
    }
}

fn request(
    client: &Arc<Client>,
    id: u64,
    topic: String,
    data: Json,
    from: Peer,
    timeout: Duration,
) -> Request {
    let client: Arc<Client> = Arc::clone(client);
    let (deadline, reply) = (Instant::now() + timeout, Reply::Supervisor { client, id });
    Request { topic, from, deadline, data, reply }
}
