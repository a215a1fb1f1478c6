//! What people ask of the bus, and what they see of it.

use std::time::Duration;

use ipc::bus::check::Check;
use ipc::bus::{FromWorker, Json};
use ipc::control::{FailureKind, Reply};
use ipc::talk::{Answered, BusRequest};
use serde_json::Value;

use crate::base::ids::{ClientId, WorkerId};
use crate::relay::{Failure, Trigger};
use crate::runtime::Runtime;
use crate::runtime::context::context;
use crate::runtime::node::raw_messages;
use crate::sys::clock;

/// Characters of an event's data that are shown to those who follow.
const DATA_SHOWN: usize = 4096;
/// Triggers that people wait for at a time.
const TRIGGERS: usize = 64;

/// A person who waits for what workers say to a trigger.
#[derive(Debug)]
pub(in crate::runtime) struct Waiting {
    client: ClientId,
    missing: usize,
    answers: Vec<Answered>,
}

impl Runtime {
    /// A person follows the events.
    pub(in crate::runtime) fn follow_bus(&mut self, client: ClientId) {
        self.clients.follow(client);
        self.bus.relay.follow(true);
    }

    pub(in crate::runtime) fn show_event(&mut self, from: WorkerId, topic: &str, data: &str) {
        let Some(child) = self.children.get(&from) else { return };
        let shown = data.char_indices().nth(DATA_SHOWN).map_or(data, |(cut, _)| &data[..cut]);
        let message = format!("{{\"topic\":{},\"data\":{shown}}}", Value::from(topic));
        let notice = child.says(message);
        let (behind, changed) = self.clients.tell_followers(&notice);
        self.bus.not_shown += behind;
        for (client, standing) in changed {
            self.clients.settle(context!(self), client, standing);
        }
    }

    /// What a person asks of the bus.
    pub(in crate::runtime) fn ask_bus(&mut self, client: ClientId, request: BusRequest) {
        match request {
            BusRequest::Emit { topic, data, slot } => {
                let reply = self.say_on_bus(topic, &data, slot);
                self.answer(client, &reply);
            }
            BusRequest::Trigger { action, data, slot, timeout_ms } => {
                let timeout = Duration::from_millis(timeout_ms.into());
                let data = Json::of(&data).unwrap_or_default();
                self.trigger(client, Trigger { ticket: 0, action, slot, data, timeout });
            }
            BusRequest::Share { .. } => self.await_shared(client),
            BusRequest::Metrics => {
                let reply = self.metrics();
                self.answer(client, &reply);
            }
        }
    }

    fn say_on_bus(&mut self, topic: String, data: &Value, slot: Option<u16>) -> Reply {
        let message = serde_json::json!({ "topic": topic, "data": data });
        let said = FromWorker::Emit { topic, data: Json::of(data).unwrap_or_default() };
        if let Err(error) = said.check() {
            return Reply::failed(FailureKind::Usage, error.to_string());
        }
        let FromWorker::Emit { topic, data } = said else {
            return Reply::failed(FailureKind::Usage, "nothing to say");
        };
        let mut actions = Vec::new();
        let reached = self.bus.relay.say(clock::now(), slot, &topic, &data, &mut actions);
        self.bus.actions.extend(actions);
        let reached = reached + raw_messages::send_to_plain(context!(self), &message, slot);
        if reached == 0 {
            let reason = "no worker listens to that topic (nor takes messages as Node programs do)";
            return Reply::failed(FailureKind::Failed, reason);
        }
        let workers = if reached == 1 { "worker" } else { "workers" };
        Reply::done(format!("sent to {reached} {workers}"))
    }

    fn trigger(&mut self, client: ClientId, wanted: Trigger) {
        if self.bus.triggers.len() >= TRIGGERS {
            let reason = format!("{TRIGGERS} triggers wait for their answers: try again later");
            return self.answer(client, &Reply::failed(FailureKind::Failed, reason));
        }
        self.bus.tickets += 1;
        let wanted = Trigger { ticket: self.bus.tickets, ..wanted };
        let mut actions = Vec::new();
        let missing = self.bus.relay.trigger(clock::now(), &wanted, &mut actions);
        self.bus.actions.extend(actions);
        if missing == 0 {
            let known: Vec<&str> = self.bus.relay.actions().into_iter().collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let reason =
                format!("no worker has registered the action {:?} (known: {known})", wanted.action);
            return self.answer(client, &Reply::failed(FailureKind::Failed, reason));
        }
        let waiting = Waiting { client, missing, answers: Vec::new() };
        self.bus.triggers.insert(wanted.ticket, waiting);
    }

    pub(in crate::runtime) fn take_answer(
        &mut self,
        ticket: u64,
        slot: u16,
        answer: Result<Json, Failure>,
    ) {
        let Some(waiting) = self.bus.triggers.get_mut(&ticket) else { return };
        waiting.answers.push(match answer {
            Ok(data) => {
                // Deeper than we can hold: shown as its text.
                let value = data.read().unwrap_or_else(|_| Value::from(data.text()));
                Answered { slot, data: Some(value), error: None }
            }
            Err(failure) => Answered { slot, data: None, error: Some(failure.message) },
        });
        waiting.missing -= 1;
        if waiting.missing > 0 {
            return;
        }
        let Some(mut waiting) = self.bus.triggers.remove(&ticket) else { return };
        waiting.answers.sort_by_key(|answer| answer.slot);
        self.answer(waiting.client, &Reply::Answers { answers: waiting.answers });
    }
}
