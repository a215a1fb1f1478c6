//! `process.send` both ways: what Node programs say to those who follow the app's events, and to all
//! (`{topic, data}`), where they are not on the bus; and what is said to them.
//!
//! Ignores what is no such message, and, with a note, what the bus would refuse.

use ipc::bus::{FromWorker, Json, Peer};
use ipc::control::{Contract, FailureKind, Reply};
use ipc::node::UserMessage;
use serde::Deserialize;
use serde_json::Value;

use super::{Told, channel};
use crate::base::ids::WorkerId;
use crate::runtime::Runtime;
use crate::runtime::context::Context;
use crate::runtime::workers::Child;
use crate::sys::clock;

/// Characters of a worker's message that are shown to those who follow the events.
const MESSAGE_SHOWN: usize = 4096;

/// What a Node program sends to all: `process.send({topic, data})`.
#[derive(Deserialize)]
struct Plain<'a> {
    topic: String,
    #[serde(borrow, default)]
    data: Option<&'a serde_json::value::RawValue>,
}

/// A program's `process.send`, shortened, for those who follow the app's events.
fn shown(message: &UserMessage) -> String {
    let mut text = message.text().to_owned();
    if let Some((cut, _)) = text.char_indices().nth(MESSAGE_SHOWN) {
        text.truncate(cut);
    }
    text
}

impl Runtime {
    /// A Node program told something that is not about sockets.
    pub(in crate::runtime) fn take_told(&mut self, worker: WorkerId, told: Told) {
        match told {
            Told::Message(message) => {
                self.emit_for_node(worker, &message);
                self.tell_message(worker, &message);
            }
            Told::Handle(kind, message) => {
                self.tell_message(worker, &message);
                self.note(format!(
                    "a worker sent a socket ({kind:?}) to the primary, which has no use for it"
                ));
            }
            Told::Measured(measured) => self.take_measured(worker, measured),
        }
    }

    fn tell_message(&mut self, worker: WorkerId, message: &UserMessage) {
        let Some(child) = self.children.get(&worker) else { return };
        let notice = child.says(shown(message));
        self.tell(&notice);
    }

    /// A Node program that is not on the bus says something to all: `{topic, data}`.
    fn emit_for_node(&mut self, worker: WorkerId, message: &UserMessage) {
        let Some(child) = self.children.get(&worker) else { return };
        let Ok(plain) = serde_json::from_str::<Plain<'_>>(message.text()) else { return };
        let text = plain.data.map_or("null", |data| data.get());
        let Ok(data) = Json::parse(text) else { return };
        let said = FromWorker::Emit { topic: plain.topic, data };
        if ipc::bus::check::Check::check(&said).is_err() {
            return self.note(
                "a Node worker sent a topic or data that is too long for the bus: ignored"
                    .to_owned(),
            );
        }
        let FromWorker::Emit { topic, data } = said else { return };
        let peer =
            Peer { worker: worker.0, slot: child.slot.0, pool: child.spec.pool().to_owned() };
        let mut actions = Vec::new();
        self.bus.relay.emit_for(clock::now(), &peer, &topic, &data, &mut actions);
        self.bus.actions.extend(actions);
    }
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
