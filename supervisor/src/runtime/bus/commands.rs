//! What people ask of the bus, and what they see of it.

use ipc::bus::check::Check;
use ipc::bus::{FromWorker, Json, Peer};
use ipc::control::{FailureKind, Reply};
use ipc::talk::Answered;
use serde_json::Value;

use super::{Bus, Waiting};
use crate::base::ids::{ClientId, WorkerId};
use crate::relay::{Failure, Trigger};
use crate::runtime::context::Context;
use crate::runtime::control::Clients;
use crate::runtime::node::raw_messages;
use crate::sys::clock;

/// Characters of an event's data that are shown to those who follow.
const DATA_SHOWN: usize = 4096;
/// Triggers that people wait for at a time.
const TRIGGERS: usize = 64;

impl Bus {
    /// A person follows the events.
    pub(in crate::runtime) fn follow(&mut self, clients: &mut Clients, client: ClientId) {
        clients.follow(client);
        self.relay.follow(true);
    }

    pub(super) fn show_event(
        &mut self,
        clients: &mut Clients,
        at: &mut Context<'_>,
        from: WorkerId,
        topic: &str,
        data: &str,
    ) {
        let Some(child) = at.children.get(&from) else { return };
        let shown = data.char_indices().nth(DATA_SHOWN).map_or(data, |(cut, _)| &data[..cut]);
        let message = format!("{{\"topic\":{},\"data\":{shown}}}", Value::from(topic));
        let notice = child.says(message);
        let (behind, changed) = clients.tell_followers(&notice);
        self.not_shown += behind;
        for (client, standing) in changed {
            clients.settle(at, client, standing);
        }
    }

    /// A person says something to workers.
    pub(in crate::runtime) fn emit(
        &mut self,
        at: &mut Context<'_>,
        topic: String,
        data: &Value,
        slot: Option<u16>,
    ) -> Reply {
        let message = serde_json::json!({ "topic": topic, "data": data });
        let said = FromWorker::Emit { topic, data: Json::of(data).unwrap_or_default() };
        if let Err(error) = said.check() {
            return Reply::failed(FailureKind::Usage, error.to_string());
        }
        let FromWorker::Emit { topic, data } = said else {
            return Reply::failed(FailureKind::Usage, "nothing to say");
        };
        let mut actions = Vec::new();
        let reached = self.relay.say(clock::now(), slot, &topic, &data, &mut actions);
        self.actions.extend(actions);
        let reached = reached + raw_messages::send_to_plain(at, &message, slot);
        if reached == 0 {
            let reason = "no worker listens to that topic (nor takes messages as Node programs do)";
            return Reply::failed(FailureKind::Failed, reason);
        }
        let workers = if reached == 1 { "worker" } else { "workers" };
        Reply::done(format!("sent to {reached} {workers}"))
    }

    /// A node program that is not on the bus says something to all.
    pub(in crate::runtime) fn emit_for(&mut self, peer: &Peer, topic: &str, data: &Json) {
        let mut actions = Vec::new();
        self.relay.emit_for(clock::now(), peer, topic, data, &mut actions);
        self.actions.extend(actions);
    }

    /// A person has workers run an action. An answer at once: none of them will.
    pub(in crate::runtime) fn trigger(
        &mut self,
        client: ClientId,
        wanted: Trigger,
    ) -> Option<Reply> {
        if self.triggers.len() >= TRIGGERS {
            let reason = format!("{TRIGGERS} triggers wait for their answers: try again later");
            return Some(Reply::failed(FailureKind::Failed, reason));
        }
        self.tickets += 1;
        let wanted = Trigger { ticket: self.tickets, ..wanted };
        let mut actions = Vec::new();
        let missing = self.relay.trigger(clock::now(), &wanted, &mut actions);
        self.actions.extend(actions);
        if missing == 0 {
            let known: Vec<&str> = self.relay.actions().into_iter().collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let reason =
                format!("no worker has registered the action {:?} (known: {known})", wanted.action);
            return Some(Reply::failed(FailureKind::Failed, reason));
        }
        let waiting = Waiting { client, missing, answers: Vec::new() };
        self.triggers.insert(wanted.ticket, waiting);
        None
    }

    pub(super) fn take_answer(
        &mut self,
        clients: &mut Clients,
        at: &mut Context<'_>,
        ticket: u64,
        slot: u16,
        answer: Result<Json, Failure>,
    ) {
        let Some(waiting) = self.triggers.get_mut(&ticket) else { return };
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
        let Some(mut waiting) = self.triggers.remove(&ticket) else { return };
        waiting.answers.sort_by_key(|answer| answer.slot);
        clients.give(at, waiting.client, &Reply::Answers { answers: waiting.answers });
    }
}
