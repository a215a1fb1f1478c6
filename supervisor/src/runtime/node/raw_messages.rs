//! What Node programs that are not on the bus say to all, by `process.send`.
//!
//! Ignores what is no such message, and, with a note, what the bus would refuse.

use ipc::bus::{FromWorker, Json, Peer};
use ipc::node::UserMessage;
use serde::Deserialize;

use crate::base::ids::WorkerId;
use crate::runtime::Runtime;
use crate::sys::clock;

/// What a Node program sends to all: `process.send({topic, data})`.
#[derive(Deserialize)]
struct Plain<'a> {
    topic: String,
    #[serde(borrow, default)]
    data: Option<&'a serde_json::value::RawValue>,
}

impl Runtime {
    /// A Node program that is not on the bus says something to all: `{topic, data}`.
    pub(in crate::runtime) fn emit_for_node(&mut self, worker: WorkerId, message: &UserMessage) {
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
