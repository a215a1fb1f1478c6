//! The node contract: a worker's channel is read and written here, its words become events, and
//! the core's answers become Node's (`link::node` speaks the protocol itself).

pub(super) mod address_requests;
pub(super) mod channels;
pub(super) mod preload;
pub(super) mod raw_messages;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use ipc::control::{Contract, FailureKind, Reply};
use ipc::node::UserMessage;
use serde_json::Value;

use super::Runtime;
use super::source::Source;
use super::workers::Child;
use crate::base::ids::{ListenerId, SocketId, WorkerId};
use crate::base::time::Time;
use crate::primary::event::{Cue, Notification};
use crate::protocol::node::{NodeLink, Word};
use crate::sys::channel::{self, Received};

/// Characters of a worker's message that are shown to those who follow the events.
const MESSAGE_SHOWN: usize = 4096;

/// A Node worker's channel and what it was answered on it.
#[derive(Debug)]
pub(crate) struct NodeChannel {
    pub(super) stream: UnixStream,
    pub(crate) link: NodeLink,
    /// Its servers, by Node's key.
    pub(crate) servers: BTreeMap<String, (ListenerId, SocketId)>,
    /// It has refused a connection, and is offered none until then.
    pub(crate) rests: Option<Time>,
    /// The poller waits for room to write.
    waits_for_room: bool,
    /// The poller does not wait for bytes: they are looked for now and then.
    pub(super) read_later: bool,
    /// Bytes that were looked at and are still in the channel.
    pub(super) looked_at: usize,
    /// Everything sent by whoever had the channel before us was seen read once.
    was_quiet: bool,
}

impl NodeChannel {
    /// A new channel and the worker's end of it.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let channel = Self {
            stream: ours,
            link: NodeLink::default(),
            servers: BTreeMap::new(),
            rests: None,
            waits_for_room: false,
            read_later: false,
            was_quiet: false,
            looked_at: 0,
        };
        Ok((channel, theirs.into()))
    }

    /// One that somebody else had.
    pub(crate) fn from_parts(
        stream: OwnedFd,
        link: NodeLink,
        servers: BTreeMap<String, (ListenerId, SocketId)>,
    ) -> Self {
        let stream = stream.into();
        Self {
            stream,
            link,
            servers,
            rests: None,
            waits_for_room: false,
            read_later: false,
            was_quiet: false,
            looked_at: 0,
        }
    }

    /// For the poller.
    pub(crate) fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Lets connections follow if the worker has read everything from before, seen twice: what it
    /// read last is answered in between. Whether it is so.
    pub(crate) fn settle(&mut self) -> bool {
        let quiet = channel::unread(self.stream.as_fd()).is_ok_and(|bytes| bytes == 0);
        if quiet && self.was_quiet {
            self.link.settle();
            return true;
        }
        self.was_quiet = quiet;
        false
    }

    /// The key of the server that this socket was given for.
    pub(crate) fn key_of(&self, place: (ListenerId, SocketId)) -> Option<&str> {
        self.servers.iter().find(|(_, at)| **at == place).map(|(key, _)| key.as_str())
    }
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

impl Runtime {
    /// Bytes on a worker's channel, or room for some.
    pub(super) fn take_channel(&mut self, worker: WorkerId, readable: bool) {
        if readable {
            // What is left makes it readable again.
            let mut bytes = std::mem::take(&mut self.channel_bytes);
            self.read_channel_first(worker, &mut bytes);
            self.channel_bytes = bytes;
        }
        self.write_channel(worker);
    }

    /// Reads at most so many times.
    pub(super) fn read_channel(&mut self, worker: WorkerId, times: usize) {
        // What was looked at is not to be read a second time.
        self.done_with_channel(worker);
        let mut bytes = std::mem::take(&mut self.channel_bytes);
        for _ in 0..times {
            if !self.read_channel_once(worker, &mut bytes) {
                break;
            }
        }
        self.channel_bytes = bytes;
    }

    /// Takes what came; whether the channel goes on.
    pub(super) fn hear_channel(
        &mut self,
        worker: WorkerId,
        bytes: &[u8],
        fds: Vec<OwnedFd>,
    ) -> bool {
        let Some(node) = self.node(worker) else { return false };
        let mut words = Vec::new();
        let taken = node.link.take(bytes, fds, &mut words);
        for word in words {
            self.take_word(worker, word);
        }
        match taken {
            Ok(()) => true,
            Err(error) => {
                self.close_channel(worker, Some(error.to_string()));
                false
            }
        }
    }

    /// Reads once; false: there is nothing more to come now.
    pub(super) fn read_channel_once(&mut self, worker: WorkerId, bytes: &mut [u8]) -> bool {
        let Some(node) = self.node(worker) else { return false };
        let why = match channel::receive(node.stream.as_fd(), bytes) {
            Ok(Received::Some(count, fds)) => {
                return self.hear_channel(worker, &bytes[..count], fds);
            }
            Ok(Received::Nothing) => return false,
            Ok(Received::End) => None,
            Err(error) => Some(error.to_string()),
        };
        self.close_channel(worker, why);
        false
    }

    pub(super) fn node(&mut self, worker: WorkerId) -> Option<&mut NodeChannel> {
        self.children.get_mut(&worker)?.node.as_mut()
    }

    /// Writes what can be written.
    pub(super) fn write_channel(&mut self, worker: WorkerId) {
        loop {
            let Some(node) = self.node(worker) else { return };
            let Some(packet) = node.link.next_packet() else { break };
            match channel::send(node.stream.as_fd(), packet.bytes, packet.fd) {
                Ok(Some(count)) => node.link.wrote(count),
                Ok(None) => break,
                // The worker has closed its end; what it still wrote is read first.
                Err(_) => break,
            }
        }
        let Some(node) = self.children.get_mut(&worker).and_then(|c| c.node.as_mut()) else {
            return;
        };
        let wanted = node.link.next_packet().is_some();
        if wanted != node.waits_for_room {
            node.waits_for_room = wanted;
            self.watch_channel(worker);
        }
    }

    pub(super) fn watch_channel(&mut self, worker: WorkerId) {
        let Some(node) = self.children.get(&worker).and_then(|c| c.node.as_ref()) else { return };
        let (token, fd) = (Source::Channel(worker).token(), node.stream.as_fd());
        let watched = self.poller.watch(fd, token, !node.read_later, node.waits_for_room);
        if let Err(error) = watched {
            self.warn(format!("cannot watch a worker's channel: {error}"));
        }
    }

    /// Ends a channel. `why`: the worker broke the protocol; else it closed its end.
    pub(super) fn close_channel(&mut self, worker: WorkerId, why: Option<String>) {
        let Some(child) = self.children.get_mut(&worker) else { return };
        let Some(mut node) = child.node.take() else { return };
        self.stale = true;
        self.poller.remove(node.stream.as_fd());
        if let Some(why) = why {
            let (slot, pid) = (child.slot, child.pid.0);
            self.warn(format!("the channel of slot {slot} (pid {pid}) was closed: {why}"));
        }
        self.take_back(node.link.take_back());
    }

    fn take_word(&mut self, worker: WorkerId, word: Word) {
        match word {
            Word::Online => {
                if let Some(child) = self.children.get_mut(&worker) {
                    child.contracts.insert(Contract::Node);
                }
            }
            Word::Query { seq, ask, again } => self.take_ask(worker, seq, *ask, again),
            Word::Listening { key, ask } => {
                let place = key.and_then(|key| self.node(worker)?.servers.get(&key).copied());
                let Some((listener, socket)) = place else {
                    return self.note(format!(
                        "a worker says that it listens on {}, which it had not asked for",
                        ask.listener()
                    ));
                };
                self.cue(worker, Cue::Listening { listener, socket });
                self.resume(listener);
            }
            Word::Closed { key } => {
                if let Some((listener, socket)) =
                    self.node(worker).and_then(|node| node.servers.remove(&key))
                {
                    self.cue(worker, Cue::Closed { listener, socket });
                    self.orphan((listener, socket));
                }
            }
            Word::Message(message) if message.is_ready() => {
                self.cue(worker, Cue::Notified(Notification::Ready));
            }
            Word::Accepted { id } => self.hand_off_done(worker, id),
            Word::Refused { id, fd } => self.hand_off_refused(worker, id, fd),
            Word::Message(message) => {
                self.emit_for_node(worker, &message);
                self.tell_subscribers(worker, &message);
            }
            Word::Handle { kind, message, fd } => {
                drop(fd);
                self.tell_subscribers(worker, &message);
                self.note(format!(
                    "a worker sent a socket ({kind:?}) to the primary, which has no use for it"
                ));
            }
            Word::Ignored { what } => self.note(format!("a Node worker said {what}: ignored")),
            Word::Measured(measured) => self.take_measured(worker, measured),
            Word::Leaving => self.cue(worker, Cue::Leaving),
        }
    }

    /// A program's `process.send`: for whoever listens to the app's events.
    fn tell_subscribers(&mut self, worker: WorkerId, message: &UserMessage) {
        let Some(child) = self.children.get(&worker) else { return };
        let mut text = message.text().to_owned();
        if let Some((cut, _)) = text.char_indices().nth(MESSAGE_SHOWN) {
            text.truncate(cut);
        }
        let notice = child.says(text);
        self.tell(&notice);
    }

    /// Gives a message to Node workers that are not on the bus. How many.
    pub(super) fn send_to_plain(&mut self, message: &Value, slot: Option<u16>) -> usize {
        let message = UserMessage::new(message);
        let wanted = |child: &&Child| slot.is_none_or(|slot| child.slot.0 == slot);
        let plain = |child: &&Child| !child.contracts.contains(&Contract::Native);
        let all = self.children.values().filter(wanted).filter(plain).map(|child| child.id);
        let mut sent = Vec::new();
        for worker in all.collect::<Vec<_>>() {
            let taken = self.node(worker).map(|node| node.link.send(&message));
            if matches!(taken, Some(Ok(()))) {
                sent.push(worker);
            }
        }
        for worker in &sent {
            self.write_channel(*worker);
        }
        sent.len()
    }

    /// Gives a message to Node workers (`process.on('message')`): all, or one slot's.
    pub(super) fn send_to_workers(&mut self, message: &Value, slot: Option<u16>) -> Reply {
        let message = UserMessage::new(message);
        let mut sent = 0;
        let workers: Vec<WorkerId> = self.children.keys().copied().collect();
        for worker in workers {
            let Some(child) = self.children.get_mut(&worker) else { continue };
            let wanted = slot.is_none_or(|slot| child.slot.0 == slot);
            let Some(node) = child.node.as_mut().filter(|_| wanted) else { continue };
            match node.link.send(&message) {
                Ok(()) => sent += 1,
                Err(why) => {
                    let reason = format!("slot {} did not get the message: {why}", child.slot);
                    return Reply::failed(FailureKind::Failed, reason);
                }
            }
            self.write_channel(worker);
        }
        if sent == 0 {
            let reason = "no worker takes messages: only programs run as \"node FILE\" do";
            return Reply::failed(FailureKind::Failed, reason);
        }
        Reply::Done {
            message: format!("sent to {sent} worker{}", if sent == 1 { "" } else { "s" }),
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
