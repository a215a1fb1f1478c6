//! The Node contract. It reads the workers' channels, turns their messages into events for the
//! core, and turns the core's answers into Node's (`protocol::node` speaks the protocol itself).

pub(super) mod address_requests;
pub(super) mod channel;
pub(super) mod preload;
pub(super) mod raw_messages;
pub(super) mod reading;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use ipc::control::Contract;
use ipc::node::{HandleKind, Measured, UserMessage};

use super::context::Context;
use super::handover::HandOver;
use crate::base::ids::{ListenerId, WorkerId};
use crate::limits::CHANNEL_READ;
use crate::primary::event::{Cue, Notification};
use crate::protocol::node::Word;

/// The node contract of an app.
#[derive(Debug)]
pub(super) struct Node {
    /// Which listener answers which ask.
    places: BTreeMap<String, ListenerId>,
    /// The primary has peeked at bytes of some channel.
    peeked: bool,
    /// The buffer into which channels are read.
    bytes: Vec<u8>,
    /// Messages of workers that are not about sockets, until [`Self::take_told`].
    told: Vec<(WorkerId, Told)>,
}

/// What a worker tells that is not about sockets.
#[derive(Debug)]
pub(super) enum Told {
    /// `process.send`.
    Message(UserMessage),
    /// `process.send` with a socket, which is closed.
    Handle(HandleKind, UserMessage),
    /// What our preload measured in it.
    Measured(Measured),
}

/// Whether this command is a Node program that reads its channel: `node FILE`, but not
/// `node -e`, which asks and never reads the answer.
pub(crate) fn is_node_program(command: &[String]) -> bool {
    let Some((program, arguments)) = command.split_first() else { return false };
    let name = Path::new(program).file_name().and_then(OsStr::to_str);
    if !matches!(name, Some("node" | "nodejs")) {
        return false;
    }
    const NO_FILE: [&str; 8] = ["-e", "--eval", "-p", "--print", "-pe", "-c", "--check", "-i"];
    let options = arguments.iter().take_while(|argument| argument.starts_with('-'));
    let mut count = 0;
    for option in options {
        count += 1;
        if NO_FILE.contains(&option.as_str()) {
            return false;
        }
    }
    arguments.len() > count
}

impl Node {
    /// `places`: which listener answers which ask, as a predecessor found them.
    pub(super) fn new(places: BTreeMap<String, ListenerId>) -> Self {
        Self { places, peeked: false, bytes: vec![0; CHANNEL_READ], told: Vec::new() }
    }

    /// For the state.
    pub(super) fn places(&self) -> &BTreeMap<String, ListenerId> {
        &self.places
    }

    /// What workers told since the last call, that is not about sockets.
    pub(super) fn take_told(&mut self) -> Vec<(WorkerId, Told)> {
        std::mem::take(&mut self.told)
    }

    fn take_word(
        &mut self,
        hands: &mut HandOver,
        at: &mut Context<'_>,
        worker: WorkerId,
        word: Word,
    ) {
        match word {
            Word::Online => {
                if let Some(child) = at.children.get_mut(&worker) {
                    child.contracts.insert(Contract::Node);
                }
            }
            Word::Query { seq, ask, again } => self.take_ask(hands, at, worker, (seq, *ask), again),
            Word::Listening { key, ask } => {
                let place = key.and_then(|key| at.node(worker)?.servers.get(&key).copied());
                let Some((listener, socket)) = place else {
                    return at.note(format!(
                        "a worker says that it listens on {}, which it had not asked for",
                        ask.listener()
                    ));
                };
                at.cue(worker, Cue::Listening { listener, socket });
                hands.resume(at, listener);
            }
            Word::Closed { key } => {
                if let Some((listener, socket)) =
                    at.node(worker).and_then(|node| node.servers.remove(&key))
                {
                    at.cue(worker, Cue::Closed { listener, socket });
                    hands.abandon(at, (listener, socket));
                }
            }
            Word::Message(message) if message.is_ready() => {
                at.cue(worker, Cue::Notified(Notification::Ready));
            }
            Word::Accepted { id } => hands.done(at, worker, id),
            Word::Refused { id, fd } => hands.refused(at, worker, id, fd),
            Word::Message(message) => self.told.push((worker, Told::Message(message))),
            Word::Handle { kind, message, fd } => {
                drop(fd);
                self.told.push((worker, Told::Handle(kind, message)));
            }
            Word::Ignored { what } => at.note(format!("a Node worker said {what}: ignored")),
            Word::Measured(measured) => self.told.push((worker, Told::Measured(measured))),
            Word::Leaving => at.cue(worker, Cue::Leaving),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_commands_are_node_programs() {
        let is =
            |line: &str| is_node_program(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        for yes in ["node app.js", "/usr/bin/node --max-old-space-size=99 app.mjs -e x", "nodejs a"]
        {
            assert!(is(yes), "{yes}");
        }
        for no in ["node", "node -e 1", "node --eval 1 x", "npm start", "python3 node", "nodemon x"]
        {
            assert!(!is(no), "{no}");
        }
    }
}
