//! `process.send` and `process.on('message')` for Node programs that are not on the bus. Their
//! messages go to the clients that follow the app's events, and `{topic, data}` goes to all
//! workers. In the other direction, `supervisor send` and the bus reach such a program.
//!
//! A message that the bus would refuse is dropped with a note.

use ipc::bus::{FromWorker, Json, Peer};
use ipc::control::{Contract, FailureKind, Reply};
use ipc::node::UserMessage;
use serde::Deserialize;
use serde_json::Value;

use super::channel;
use crate::base::ids::WorkerId;
use crate::runtime::context::Context;
use crate::runtime::workers::Child;

/// How many characters of a worker's message the app's events show.
const MESSAGE_SHOWN: usize = 4096;

/// What a Node program sends to all: `process.send({topic, data})`.
#[derive(Deserialize)]
struct Plain<'a> {
    topic: String,
    #[serde(borrow, default)]
    data: Option<&'a serde_json::value::RawValue>,
}

/// A program's `process.send`, shortened, for the app's events.
pub(in crate::runtime) fn shown(message: &UserMessage) -> String {
    let mut text = message.text().to_owned();
    if let Some((cut, _)) = text.char_indices().nth(MESSAGE_SHOWN) {
        text.truncate(cut);
    }
    text
}

/// What a program that is not on the bus says to all (`{topic, data}`), and who says it. `None`:
/// its message is another one, or too long for the bus.
pub(in crate::runtime) fn for_all(
    at: &mut Context<'_>,
    worker: WorkerId,
    message: &UserMessage,
) -> Option<(Peer, String, Json)> {
    let child = at.children.get(&worker)?;
    let plain: Plain<'_> = serde_json::from_str(message.text()).ok()?;
    let data = Json::parse(plain.data.map_or("null", |data| data.get())).ok()?;
    let said = FromWorker::Emit { topic: plain.topic, data };
    if ipc::bus::check::Check::check(&said).is_err() {
        at.note(
            "a Node worker sent a topic or data that is too long for the bus: ignored".to_owned(),
        );
        return None;
    }
    let FromWorker::Emit { topic, data } = said else { return None };
    let (slot, pool) = (child.slot.0, child.spec.pool().to_owned());
    Some((Peer { worker: worker.0, slot, pool }, topic, data))
}

/// Gives a message to Node workers that are not on the bus. How many.
pub(in crate::runtime) fn send_to_plain(
    at: &mut Context<'_>,
    message: &Value,
    slot: Option<u16>,
) -> usize {
    let message = UserMessage::new(message);
    let wanted = |child: &&Child| slot.is_none_or(|slot| child.slot.0 == slot);
    let plain = |child: &&Child| !child.contracts.contains(&Contract::Native);
    let all = at.children.values().filter(wanted).filter(plain).map(|child| child.id);
    let mut sent = Vec::new();
    for worker in all.collect::<Vec<_>>() {
        let taken = at.node(worker).map(|node| node.link.send(&message));
        if matches!(taken, Some(Ok(()))) {
            sent.push(worker);
        }
    }
    for worker in &sent {
        channel::write(at, *worker);
    }
    sent.len()
}

/// Gives a text to one worker, if it is a Node program whose channel is open and has room for it.
/// Whether it was given.
pub(in crate::runtime) fn tell(at: &mut Context<'_>, worker: WorkerId, text: &str) -> bool {
    let Some(child) = at.children.get_mut(&worker) else { return false };
    // A program that has not said that it is online may be another one, which never reads.
    let is_online = child.contracts.contains(&Contract::Node);
    let Some(node) = child.node_mut().filter(|_| is_online) else { return false };
    let is_taken = node.link.send(&UserMessage::new(&Value::from(text))).is_ok();
    channel::write(at, worker);
    is_taken
}

/// Gives a message to Node workers (`process.on('message')`): all, or one slot's.
pub(in crate::runtime) fn send(at: &mut Context<'_>, message: &Value, slot: Option<u16>) -> Reply {
    let message = UserMessage::new(message);
    let mut sent = 0;
    let workers: Vec<WorkerId> = at.children.keys().copied().collect();
    for worker in workers {
        let Some(child) = at.children.get_mut(&worker) else { continue };
        let wanted = slot.is_none_or(|slot| child.slot.0 == slot);
        let Some(node) = child.node_mut().filter(|_| wanted) else { continue };
        match node.link.send(&message) {
            Ok(()) => sent += 1,
            Err(why) => {
                let reason = format!("slot {} did not get the message: {why}", child.slot);
                return Reply::failed(FailureKind::Failed, reason);
            }
        }
        channel::write(at, worker);
    }
    if sent == 0 {
        let reason = "no worker takes messages: only programs run as \"node FILE\" do";
        return Reply::failed(FailureKind::Failed, reason);
    }
    Reply::done(format!("sent to {sent} worker{}", if sent == 1 { "" } else { "s" }))
}
