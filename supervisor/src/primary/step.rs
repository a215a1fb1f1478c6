//! The time of a step, and the list that takes its actions.

use ipc::control::{Notice, Reply};

use super::action::Action;
use crate::base::ids::ClientId;
use crate::base::time::Time;

/// One call of `Primary::step`: the time, and the list that takes the actions.
#[derive(Debug)]
pub(super) struct Step<'a> {
    pub(super) now: Time,
    pub(super) out: &'a mut Vec<Action>,
}

impl Step<'_> {
    pub(super) fn act(&mut self, action: Action) {
        self.out.push(action);
    }

    pub(super) fn publish(&mut self, notice: Notice) {
        self.act(Action::Publish(notice));
    }

    pub(super) fn answer(&mut self, client: ClientId, reply: Reply) {
        self.act(Action::Answer { client, reply });
    }

    /// Gives the same answer to each client.
    pub(super) fn answer_all(&mut self, clients: &[ClientId], reply: &Reply) {
        for client in clients {
            self.answer(*client, reply.clone());
        }
    }
}
