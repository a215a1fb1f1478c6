//! The node contract: a worker's channel is read and written here, its words become events, and
//! the core's answers become Node's (`link::node` speaks the protocol itself).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use config::spec::{AppSpec, Balance, Engine};
use ipc::control::{FailureKind, Notice, NoticeKind, Reply};
use ipc::node::{ServerAsk, UserMessage, Wanted};
use serde_json::Value;

use super::Drive;
use super::calls::refusal;
use super::children::{Asking, Claim};
use super::listeners::Key;
use super::source::Source;
use crate::limits::{CALLS_PER_TURN, CHANNEL_READ};
use crate::link::node::{NodeLink, Word};
use crate::primary::event::{Cue, Event, Notification};
use crate::primary::ids::{ListenerId, SocketId, WorkerId};
use crate::sys::channel::{self, Received};
use crate::sys::ebpf::RoundRobin;
use crate::sys::{clock, socket};

/// Characters of a worker's message that are shown to those who follow the events.
const MESSAGE_SHOWN: usize = 4096;

/// A Node worker's channel and what it was answered on it.
#[derive(Debug)]
pub(crate) struct NodeChannel {
    stream: UnixStream,
    pub(crate) link: NodeLink,
    /// Its servers, by Node's key.
    pub(crate) servers: BTreeMap<String, (ListenerId, SocketId)>,
    /// The poller waits for room to write.
    waits_for_room: bool,
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
            waits_for_room: false,
        };
        Ok((channel, theirs.into()))
    }

    /// For the poller.
    pub(crate) fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.stream.as_fd()
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

/// Whether the primary accepts for Node workers and hands connections over.
fn hands_over(spec: &AppSpec) -> bool {
    match (spec.engine, spec.balance) {
        (Engine::Kernel, _) | (_, Balance::Shared) => false,
        (Engine::Primary, _) | (Engine::Auto, Balance::LeastConnections) => true,
        // Strictly in turn in either engine; the kernel's costs nothing, but needs a privilege.
        (Engine::Auto, Balance::RoundRobin) => RoundRobin::new().is_err(),
        (Engine::Auto, Balance::Sticky | Balance::Hash) => false,
    }
}

impl Drive {
    /// Bytes on a worker's channel, or room for some.
    pub(super) fn take_channel(&mut self, worker: WorkerId, readable: bool) {
        if readable {
            self.read_channel(worker, CALLS_PER_TURN);
        }
        self.write_channel(worker);
    }

    /// Reads at most so many times.
    pub(super) fn read_channel(&mut self, worker: WorkerId, times: usize) {
        let mut bytes = vec![0; CHANNEL_READ];
        for _ in 0..times {
            let Some(node) = self.node(worker) else { return };
            let received = channel::receive(node.stream.as_fd(), &mut bytes);
            let (count, fds) = match received {
                Ok(Received::Some(count, fds)) => (count, fds),
                Ok(Received::Nothing) => return,
                Ok(Received::End) => return self.close_channel(worker, None),
                Err(error) => return self.close_channel(worker, Some(error.to_string())),
            };
            let mut words = Vec::new();
            let taken = node.link.take(&bytes[..count], fds, &mut words);
            for word in words {
                self.take_word(worker, word);
            }
            if let Err(error) = taken {
                return self.close_channel(worker, Some(error.to_string()));
            }
        }
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
            let token = Source::Channel(worker).token();
            if let Err(error) = self.poller.modify(node.stream.as_fd(), token, wanted) {
                self.warn(format!("cannot watch a worker's channel: {error}"));
            }
        }
    }

    /// Ends a channel. `why`: the worker broke the protocol; else it closed its end.
    fn close_channel(&mut self, worker: WorkerId, why: Option<String>) {
        let Some(child) = self.children.get_mut(&worker) else { return };
        let Some(mut node) = child.node.take() else { return };
        self.poller.remove(node.stream.as_fd());
        if let Some(why) = why {
            let (slot, pid) = (child.slot, child.pid.0);
            self.warn(format!("the channel of slot {slot} (pid {pid}) was closed: {why}"));
        }
        self.take_back(worker, node.link.take_back());
    }

    fn take_word(&mut self, worker: WorkerId, word: Word) {
        match word {
            Word::Online => {
                if let Some(child) = self.children.get_mut(&worker) {
                    child.contracts.insert("node");
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
                if let Some(node) = self.node(worker) {
                    node.servers.remove(&key);
                }
            }
            Word::Message(message) if message.is_ready() => {
                self.cue(worker, Cue::Notified(Notification::Ready));
            }
            Word::Accepted { id } => self.hand_off_done(worker, id),
            Word::Refused { id, fd } => self.hand_off_refused(worker, id, fd),
            Word::Message(message) => self.tell_subscribers(worker, &message),
            Word::Handle { kind, message, fd } => {
                drop(fd);
                self.tell_subscribers(worker, &message);
                self.note(format!(
                    "a worker sent a socket ({kind:?}) to the primary, which has no use for it"
                ));
            }
            Word::Ignored { what } => self.note(format!("a Node worker said {what}: ignored")),
            // Its exit follows.
            Word::Leaving => {}
        }
    }

    /// A program's `process.send`: for whoever listens to the app's events.
    fn tell_subscribers(&mut self, worker: WorkerId, message: &UserMessage) {
        let Some(child) = self.children.get(&worker) else { return };
        let mut text = message.text().to_owned();
        if let Some((cut, _)) = text.char_indices().nth(MESSAGE_SHOWN) {
            text.truncate(cut);
        }
        let notice = Notice {
            unix_ms: clock::unix_ms(),
            event: NoticeKind::WorkerMessage,
            slot: Some(child.slot.0),
            worker: Some(worker.0),
            pid: Some(child.pid.0),
            generation: Some(child.generation.0),
            message: text,
            last_lines: Vec::new(),
        };
        self.tell(&notice);
    }

    /// Gives a message to Node workers (`process.on('message')`): all, or one slot's.
    pub(super) fn send_to_workers(&mut self, message: &Value, slot: Option<u16>) -> Reply {
        let failed = |kind, reason| Reply::Failed { kind, reason, last_lines: Vec::new() };
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
                    return failed(FailureKind::Failed, reason);
                }
            }
            self.write_channel(worker);
        }
        if sent == 0 {
            let reason = "no worker takes messages: only programs run as \"node FILE\" do";
            return failed(FailureKind::Failed, reason.to_owned());
        }
        Reply::Done {
            message: format!("sent to {sent} worker{}", if sent == 1 { "" } else { "s" }),
        }
    }

    /// A worker asks for an address.
    fn take_ask(&mut self, worker: WorkerId, seq: u64, ask: ServerAsk, again: bool) {
        let found = if again && !ask_shares(&ask) {
            Err((libc::EADDRINUSE, format!("this worker serves {} already", ask.listener())))
        } else {
            self.listener_asked(worker, &ask)
        };
        let listener = match found {
            Ok(listener) => listener,
            Err((errno, reason)) => {
                if let Some(node) = self.node(worker) {
                    // A link that cannot take this answer is broken; its end is seen on reading.
                    let _ = node.link.reply_error(seq, None, errno);
                }
                let address = ask.listener();
                self.cue(worker, Cue::BindRefused { address, reason });
                return;
            }
        };
        let ticket = self.next_ticket();
        let Some(child) = self.children.get_mut(&worker) else { return };
        child.asking.insert(ticket, Asking::Node { seq, ask: Box::new(ask), listener });
        self.cue(worker, Cue::BindAsked { listener, ticket, another: false });
    }

    /// Finds the listener of an ask, or makes it.
    fn listener_asked(
        &mut self,
        worker: WorkerId,
        ask: &ServerAsk,
    ) -> Result<ListenerId, (i32, String)> {
        let place = ask.listener();
        if let Some(id) = self.node_places.get(&place)
            && self.listeners.get(*id).is_some()
        {
            return Ok(*id);
        }
        let wanted = ask.wanted().map_err(|error| (libc::EINVAL, error.to_string()))?;
        let id = match &wanted {
            Wanted::Tcp { address, v6only, .. } => {
                let key = Key::Tcp(*address, *v6only && address.is_ipv6());
                match self.listeners.find(&key) {
                    Some(open) => open.id,
                    None => self
                        .open_asked(worker, &wanted)
                        .map_err(|error| (errno(&error), refusal(*address, &error)))?,
                }
            }
            Wanted::Udp { .. } | Wanted::Unix { .. } => self
                .open_asked(worker, &wanted)
                .map_err(|error| (errno(&error), format!("cannot open {place}: {error}")))?,
            Wanted::Descriptor { fd, .. } => {
                let child = self.children.get(&worker);
                let lent = child.and_then(|child| child.inherited.get(fd));
                lent.map(|(listener, _)| *listener).ok_or_else(|| {
                    (libc::EINVAL, format!("descriptor {fd} was not lent to this worker"))
                })?
            }
        };
        self.node_places.insert(place, id);
        Ok(id)
    }

    fn open_asked(&mut self, worker: WorkerId, wanted: &Wanted) -> io::Result<ListenerId> {
        let Some(child) = self.children.get(&worker) else {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        };
        let (balance, hand_over) = (child.spec.balance, hands_over(&child.spec));
        let open = &mut self.listeners;
        let listener = match wanted {
            Wanted::Tcp { address, v6only, any } => {
                let v6only = address.is_ipv6().then_some(*v6only);
                let without_v6 = std::net::SocketAddr::from(([0, 0, 0, 0], address.port()));
                // No address at all means `::`, or `0.0.0.0` where there is no IPv6.
                let result = open.open_tcp(*address, v6only, balance, hand_over).map(|l| l.id);
                let id = match result {
                    Err(error) if *any && no_ipv6(&error) => {
                        open.open_tcp(without_v6, None, balance, hand_over)?.id
                    }
                    result => result?,
                };
                open.get(id)
            }
            Wanted::Udp { address, v6only, reuse_address } => {
                Some(open.open_udp(*address, *v6only, *reuse_address)?)
            }
            Wanted::Unix { path, readable_all, writable_all } => {
                let mode = 0o700
                    | if *readable_all { 0o044 } else { 0 }
                    | if *writable_all { 0o022 } else { 0 };
                Some(open.open_unix(path.clone(), mode)?)
            }
            Wanted::Descriptor { .. } => None,
        };
        let opened = listener.ok_or(io::ErrorKind::InvalidInput)?.opened();
        let id = opened.id;
        self.inbox.push_back(Event::ListenerFound(opened));
        if hand_over {
            self.resume(id);
        }
        Ok(id)
    }

    /// The core has said which socket answers an ask.
    pub(super) fn lend_to_node(
        &mut self,
        worker: WorkerId,
        claim: Claim,
        seq: u64,
        ask: &ServerAsk,
    ) {
        let Claim { listener: id, socket } = claim;
        let key = ask.key();
        let place = self.inherited_place(worker, ask).unwrap_or((id, socket));
        let given = self.listeners.given(place);
        let Some(listener) = self.listeners.get_mut(id) else { return };
        let data = listener.node_data.get_or_insert_with(|| ask.data.clone()).clone();
        let address = listener.tcp_address();
        let hands_over = listener.hand_over().is_some();
        let fd = if hands_over { None } else { Some(socket_for_node(listener, place.1)) };
        let Some(child) = self.children.get_mut(&worker) else { return };
        let Some(node) = child.node.as_mut() else { return };
        let replied = match fd {
            None => node.link.reply_round_robin(seq, Some(&data), address),
            Some(Ok(fd)) => node.link.reply_shared(seq, Some(&data), fd),
            Some(Err(error)) => node.link.reply_error(seq, Some(&data), errno(&error)),
        };
        node.servers.insert(key, place);
        child.lent.entry(place).or_insert(given);
        if let Err(error) = replied {
            return self.close_channel(worker, Some(error.to_string()));
        }
        self.write_channel(worker);
    }

    /// The lent socket that a program names by its descriptor.
    fn inherited_place(&self, worker: WorkerId, ask: &ServerAsk) -> Option<(ListenerId, SocketId)> {
        let Ok(Wanted::Descriptor { fd, .. }) = ask.wanted() else { return None };
        self.children.get(&worker)?.inherited.get(&fd).copied()
    }
}

/// A copy of a listener's socket as Node wants it: non-blocking, and listening (unless Node's own
/// `listen` on it is what makes it so: then it is intercepted and joins its group there).
fn socket_for_node(
    listener: &mut super::listener::Listener,
    socket: SocketId,
) -> io::Result<OwnedFd> {
    let fd = listener.socket(socket)?;
    socket::set_nonblocking(fd, true)?;
    fd.try_clone_to_owned()
}

/// Several asks of one worker for one UDP address are fine where it wants to share it.
fn ask_shares(ask: &ServerAsk) -> bool {
    matches!(ask.wanted(), Ok(Wanted::Udp { reuse_address: true, .. }))
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EADDRINUSE)
}

fn no_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
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
