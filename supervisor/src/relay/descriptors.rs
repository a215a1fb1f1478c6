//! Passing a descriptor from one worker to another, beside a message.
//!
//! If no worker can take the descriptor, the relay refuses it at once with the reason. The sender
//! keeps its own copy and may do something else with it.

use std::os::fd::OwnedFd;

use ipc::bus::codec::Codec;
use ipc::bus::{ErrorKind, Json, ToWorker};

use super::limits::GIFTS;
use crate::base::ids::WorkerId;
use crate::relay::{Action, Failure, Relay, encode};

/// A client that speaks lines and takes descriptors announces it by subscribing to this topic.
const TAKES: &str = "supervisor:given";

/// A descriptor that a worker sends.
#[derive(Debug)]
pub(crate) struct Gift {
    pub(crate) id: u64,
    pub(crate) slot: u16,
    pub(crate) topic: String,
    pub(crate) data: Json,
    pub(crate) fd: OwnedFd,
}

impl Relay {
    /// Passes a descriptor from a worker to the worker of a slot.
    pub(crate) fn give(&mut self, from: WorkerId, gift: Gift, actions: &mut Vec<Action>) {
        let Some(member) = self.members.get_mut(&from).filter(|member| !member.cut) else { return };
        member.said += 1;
        if member.codec.is_none() {
            return self.cut(from, "its first message was not a hello".to_owned(), actions);
        }
        let id = gift.id;
        let answer = match self.pass_on(from, gift) {
            Ok(()) => ToWorker::Answer { id, data: Json::default() },
            Err(Failure { kind, message }) => ToWorker::Error { id, kind, message },
        };
        self.tell(from, &answer, actions);
    }

    fn pass_on(&mut self, from: WorkerId, gift: Gift) -> Result<(), Failure> {
        let Gift { slot, topic, data, fd, .. } = gift;
        let failed = |message| Failure { kind: ErrorKind::Failed, message };
        let Some(peer) = self.members.get(&from).map(|member| member.peer.clone()) else {
            return Ok(());
        };
        let Some(reader) = self.of_slot(slot).find(|worker| *worker != from) else {
            return Err(failed(format!("slot {slot} has no other worker on the bus")));
        };
        let named = self.name(reader);
        let Some(member) = self.members.get_mut(&reader).filter(|member| !member.cut) else {
            return Err(failed(format!("{named} is being cut off")));
        };
        if member.codec != Some(Codec::Frames) && !member.subscribed.contains_key(TAKES) {
            let message = format!(
                "{named} takes no descriptors: the Rust client does, and the Python client with an on_given handler"
            );
            return Err(failed(message));
        }
        let given = ToWorker::Given { topic, data, from: peer };
        let Some(frame) = encode(member.codec, &given) else {
            return Err(failed("the message is too long".to_owned()));
        };
        if !member.queue.takes_gift(frame.len()) {
            let message = format!("{GIFTS} descriptors, or too many bytes, wait for {named}");
            return Err(Failure { kind: ErrorKind::Full, message });
        }
        member.heard += 1;
        member.queue.gift(frame, fd);
        self.dirty.insert(reader);
        Ok(())
    }
}
