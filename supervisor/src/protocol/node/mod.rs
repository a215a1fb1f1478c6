//! The Node contract: the primary's side of Node's own `cluster` protocol, for one worker.
//!
//! Bytes from the worker's channel go into [`NodeLink::take`] and come back as [`Word`]s. Commands
//! queue packets. The owner of the socket writes [`NodeLink::next_packet`] and reports how much it
//! has written ([`NodeLink::wrote`]). A message that the protocol does not allow is a
//! [`LinkError`]: it ends this channel and nothing else.
//!
//! **Descriptors.** A descriptor goes with the first byte of its packet, one in each `sendmsg`, and
//! no other packet in the same call. The link keeps its own copy of every connection that it handed
//! over until the worker has taken it. Refused connections come back by [`Word::Refused`], those of
//! a gone worker by [`NodeLink::take_back`].
//!
//! **Pipelining.** Node's own primary waits after each descriptor for its acknowledgement. That is
//! not necessary: a worker reads up to 64 KiB at a time and takes one descriptor with each read,
//! and the kernel ends a read after the bytes that came with a descriptor. But a read that ends
//! *within* a `NODE_HANDLE` line may be followed by one that has the rest of it and the next such
//! line. The next descriptor then goes to the wrong line and a connection is lost (seen with Node
//! 18, 20, 22 and 24). So the link sends a further descriptor before the acknowledgement only while
//! everything that the worker may not have read fits one read, and no packet was cut. Otherwise
//! [`out`] holds it back.

pub(super) mod messages;
pub(super) mod out;
pub(super) mod snapshot;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod with_node;

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use ipc::node::{
    AddressType, FromWorker, HANDLE_ACK, HANDLE_NACK, HandleKind, NodeReader, ServerAsk, Sockname,
    ToWorker, UserMessage,
};
use serde_json::Value;

pub(crate) use messages::{HandOffId, LinkError, Refusal, Refused, TakenBack, Word};
pub(crate) use out::Packet;
use out::{Out, Sent};
pub(crate) use snapshot::LinkSnapshot;

/// Unanswered requests of one worker. Node sends one request for each server that it opens.
const ASKS: usize = 256;
/// Open servers of one worker.
const SERVERS: usize = 4096;
/// Hand-overs to one worker that it has neither taken nor refused, including unsent ones.
const HAND_OFFS: usize = 1024;

/// One worker's channel.
#[derive(Debug, Default)]
pub(crate) struct NodeLink {
    reader: NodeReader,
    out: Out,
    /// The number of our next message.
    seq: u64,
    asks: BTreeMap<u64, Box<ServerAsk>>,
    /// The worker's open servers, by key.
    servers: BTreeMap<String, Server>,
    /// The hand-overs, by the number of their message.
    hand_offs: BTreeMap<u64, HandOff>,
    /// Descriptors whose line has not arrived yet.
    unclaimed: VecDeque<OwnedFd>,
    /// The worker was told to leave, or announced that it leaves.
    leaving: bool,
    /// Another primary had the channel before: see `snapshot`.
    inherited: bool,
    /// The first line has been read.
    begun: bool,
}

/// A server that was answered to the worker.
#[derive(Debug)]
struct Server {
    listener: String,
    /// The worker gets its connections from us and does not accept by itself.
    round_robin: bool,
}

/// A connection on its way to the worker.
#[derive(Debug)]
struct HandOff {
    id: HandOffId,
    fd: OwnedFd,
    /// The descriptor has arrived; whether the program takes it is still open.
    arrived: bool,
}

impl NodeLink {
    /// Takes the bytes and descriptors of one `recvmsg`. The words come in the worker's order.
    /// After an error, the words before it are valid, and the channel must be closed.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        fds: Vec<OwnedFd>,
        words: &mut Vec<Word>,
    ) -> Result<(), LinkError> {
        self.unclaimed.extend(fds);
        // Node sends the next descriptor only after the acknowledgement of the last one.
        if self.unclaimed.len() > 1 {
            return Err(LinkError::StrayHandle);
        }
        self.reader.push(bytes);
        loop {
            let first = !std::mem::replace(&mut self.begun, true);
            match self.reader.next_message() {
                Ok(Some(message)) => self.hear(message, words)?,
                Ok(None) => {
                    self.begun = !first;
                    break;
                }
                // The rest of a line whose beginning our predecessor has read.
                Err(_) if first && self.inherited => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !self.unclaimed.is_empty() && !self.reader.is_partial() {
            return Err(LinkError::StrayHandle);
        }
        Ok(())
    }

    /// Whether the worker asked for that server and gets its connections from us.
    pub(crate) fn takes(&self, key: &str) -> bool {
        !self.leaving
            && !self.out.is_settling()
            && self.servers.get(key).is_some_and(|server| server.round_robin)
    }

    /// Whether the worker has that server open, in either engine: it serves a connection that is
    /// handed over in any case.
    pub(crate) fn serves(&self, key: &str) -> bool {
        !self.leaving && !self.out.is_settling() && self.servers.contains_key(key)
    }

    /// The number of bytes that wait for the worker.
    pub(crate) fn queued(&self) -> usize {
        self.out.queued()
    }

    /// The number of hand-overs that the worker has neither taken nor refused.
    pub(crate) fn pending(&self) -> usize {
        self.hand_offs.len()
    }

    /// Kernel engine: the worker accepts on `fd` by itself. `data`: what the first worker that
    /// asked for this listener sent; `None`: this worker is the first. For TCP, unix and UDP
    /// sockets alike. `fd` must be non-blocking and have the requested port; otherwise Node reports
    /// "address in use".
    pub(crate) fn reply_shared(
        &mut self,
        seq: u64,
        data: Option<&Value>,
        fd: OwnedFd,
    ) -> Result<(), LinkError> {
        let ask = self.answered(seq)?;
        let udp = matches!(ask.address_type, AddressType::Udp4 | AddressType::Udp6);
        let kind = if udp { HandleKind::DgramNative } else { HandleKind::NetNative };
        let number = self.next_seq();
        let line = ToWorker::Reply {
            ack: seq,
            errno: 0,
            key: &ask.key(),
            data: data.unwrap_or(&ask.data),
            sockname: None,
        }
        .line_with_handle(number, kind)?;
        self.out.push_shared(line, fd)?;
        self.open(&ask, false);
        Ok(())
    }

    /// Primary engine: the worker waits for [`Self::newconn`]. `sockname`: the real address, with
    /// the requested port as above; `None` for unix sockets.
    pub(crate) fn reply_round_robin(
        &mut self,
        seq: u64,
        data: Option<&Value>,
        sockname: Option<SocketAddr>,
    ) -> Result<(), LinkError> {
        let ask = self.answered(seq)?;
        let sockname = sockname.map(Sockname::from);
        self.say(ToWorker::Reply {
            ack: seq,
            errno: 0,
            key: &ask.key(),
            data: data.unwrap_or(&ask.data),
            sockname: sockname.as_ref(),
        })?;
        self.open(&ask, true);
        Ok(())
    }

    /// The address is not available: the program's server gets an `error` event. `errno`: the
    /// kernel's number, with either sign.
    pub(crate) fn reply_error(
        &mut self,
        seq: u64,
        data: Option<&Value>,
        errno: i32,
    ) -> Result<(), LinkError> {
        let ask = self.answered(seq)?;
        // TLS servers read `data` before they check `errno`.
        let data = data.unwrap_or(&ask.data);
        let errno = -errno.saturating_abs();
        self.say(ToWorker::Reply { ack: seq, errno, key: &ask.key(), data, sockname: None })
    }

    /// Hands a connection over. If the link refuses, it gives the connection back at once and
    /// nothing has happened. `fd` must be non-blocking.
    pub(crate) fn newconn(&mut self, id: HandOffId, key: &str, fd: OwnedFd) -> Result<(), Refused> {
        let refused = |why, fd| Err(Refused { why, fd });
        if self.leaving {
            return refused(Refusal::Leaving, fd);
        }
        if !self.serves(key) {
            return refused(Refusal::NotServing, fd);
        }
        if self.hand_offs.len() >= HAND_OFFS {
            return refused(Refusal::Full, fd);
        }
        let seq = self.next_seq();
        let line = ToWorker::NewConn { key }.line_with_handle(seq, HandleKind::NetNative);
        if !line.is_ok_and(|line| self.out.push_newconn(line, seq)) {
            return refused(Refusal::Full, fd);
        }
        self.hand_offs.insert(seq, HandOff { id, fd, arrived: false });
        Ok(())
    }

    /// Has the preload end each kept connection with its next response, or no longer.
    pub(crate) fn end_kept(&mut self, ends: bool) -> Result<(), LinkError> {
        self.out.push_line(ToWorker::EndKept { ends }.line(0)?)
    }

    /// Queues a message for the program.
    pub(crate) fn send(&mut self, message: &UserMessage) -> Result<(), Refusal> {
        if message.is_internal() {
            return Err(Refusal::Reserved);
        }
        let line = ToWorker::User(message).line(0);
        if line.is_ok_and(|line| self.out.push_user(line)) { Ok(()) } else { Err(Refusal::Full) }
    }

    /// The next packet to write; `None`: nothing to write now. The packet has its descriptor only
    /// until its first byte is written.
    pub(crate) fn next_packet(&self) -> Option<Packet<'_>> {
        self.out.next_packet(|seq| self.hand_offs.get(&seq).map(|hand_off| &hand_off.fd))
    }

    /// Notes that this many bytes of that packet were written, and with them its descriptor, if it
    /// had one.
    pub(crate) fn wrote(&mut self, count: usize) {
        self.out.wrote(count);
    }

    /// Takes back the connections of which nothing was sent yet, from a worker that has stopped
    /// reading. The worker keeps the others.
    pub(crate) fn take_back_unsent(&mut self) -> Vec<TakenBack> {
        let unsent = self.out.drop_unsent();
        unsent.into_iter().filter_map(|seq| self.hand_offs.remove(&seq)).map(given_back).collect()
    }

    /// Takes back every connection that the worker has not taken. Call this only when the worker is
    /// gone or its channel is closed, after everything that it still wrote was taken in.
    pub(crate) fn take_back(&mut self) -> Vec<TakenBack> {
        self.out.clear();
        std::mem::take(&mut self.hand_offs).into_values().map(given_back).collect()
    }

    fn hear(&mut self, message: FromWorker, words: &mut Vec<Word>) -> Result<(), LinkError> {
        match message {
            FromWorker::User(message) => words.push(Word::Message(message)),
            FromWorker::Handle { kind, message } => self.hear_handle(kind, *message, words)?,
            FromWorker::HandleAck => self.hear_handle_ack()?,
            FromWorker::HandleNack => self.hear_handle_nack(words)?,
            FromWorker::Online => words.push(Word::Online),
            FromWorker::QueryServer { seq, ask } => self.hear_ask(seq, ask, words)?,
            FromWorker::Listening { ask } => {
                let key = self.key_of(&ask);
                words.push(Word::Listening { key, ask });
            }
            FromWorker::Close { key } => {
                // Node also reports the closing of servers that were refused to it.
                if self.servers.remove(&key).is_some() {
                    words.push(Word::Closed { key });
                }
            }
            FromWorker::ExitedAfterDisconnect { seq } => {
                self.leaving = true;
                self.say(ToWorker::Acknowledge { ack: seq })?;
                words.push(Word::Leaving);
            }
            FromWorker::Ack { ack, accepted } => self.hear_ack(ack, accepted, words)?,
            FromWorker::Measured(measured) => words.push(Word::Measured(measured)),
            FromWorker::Unknown { what } => words.push(Word::Ignored { what }),
        }
        Ok(())
    }

    fn hear_handle(
        &mut self,
        kind: HandleKind,
        message: FromWorker,
        words: &mut Vec<Word>,
    ) -> Result<(), LinkError> {
        let fd = self.unclaimed.pop_front();
        self.out.push_line(if fd.is_some() { HANDLE_ACK } else { HANDLE_NACK }.to_vec())?;
        match (fd, message) {
            (Some(fd), FromWorker::User(message)) => words.push(Word::Handle { kind, message, fd }),
            (Some(_), _) => return Err(LinkError::StrayHandle),
            (None, _) => words.push(Word::Ignored { what: "a lost descriptor".into() }),
        }
        Ok(())
    }

    fn hear_handle_ack(&mut self) -> Result<(), LinkError> {
        if let Sent::NewConn(seq) = self.out.acknowledged()?
            && let Some(hand_off) = self.hand_offs.get_mut(&seq)
        {
            hand_off.arrived = true;
        }
        Ok(())
    }

    fn hear_handle_nack(&mut self, words: &mut Vec<Word>) -> Result<(), LinkError> {
        match self.out.acknowledged()? {
            Sent::NewConn(seq) => {
                if let Some(HandOff { id, fd, .. }) = self.hand_offs.remove(&seq) {
                    words.push(Word::Refused { id, fd });
                }
                Ok(())
            }
            // The program would wait for its socket for ever.
            Sent::Shared => Err(LinkError::SocketLost),
            Sent::Stranger => Ok(()),
        }
    }

    fn hear_ask(
        &mut self,
        seq: u64,
        ask: Box<ServerAsk>,
        words: &mut Vec<Word>,
    ) -> Result<(), LinkError> {
        // Like Node's own primary: a leaving worker gets nothing more.
        if self.leaving {
            return Ok(());
        }
        // Our predecessor had received this request as well.
        if self.inherited && self.asks.contains_key(&seq) {
            return Ok(());
        }
        let key = ask.key();
        let asked = self.asks.values().any(|other| other.key() == key);
        if asked || self.asks.contains_key(&seq) || self.servers.contains_key(&key) {
            return Err(LinkError::AskedTwice);
        }
        if self.asks.len() >= ASKS || self.servers.len() >= SERVERS {
            return Err(LinkError::TooManyAsks);
        }
        let listener = ask.listener();
        let again = self.servers.values().any(|server| server.listener == listener)
            || self.asks.values().any(|other| other.listener() == listener);
        words.push(Word::Query { seq, ask: ask.clone(), again });
        self.asks.insert(seq, ask);
        Ok(())
    }

    fn hear_ack(
        &mut self,
        seq: u64,
        accepted: bool,
        words: &mut Vec<Word>,
    ) -> Result<(), LinkError> {
        if !self.hand_offs.contains_key(&seq) || self.out.is_unsent(seq) {
            return if self.inherited { Ok(()) } else { Err(LinkError::AnsweredUnasked) };
        }
        if let Some(HandOff { id, fd, .. }) = self.hand_offs.remove(&seq) {
            words.push(if accepted { Word::Accepted { id } } else { Word::Refused { id, fd } });
        }
        Ok(())
    }

    /// The server that a `listening` is about. Its port is the real one by then.
    fn key_of(&self, ask: &ServerAsk) -> Option<String> {
        let asked_with = [ask.port, Some(0), None];
        let mut keys = asked_with.map(|port| ServerAsk { port, ..ask.clone() }.key()).into_iter();
        keys.find(|key| self.servers.contains_key(key))
    }

    fn answered(&mut self, seq: u64) -> Result<Box<ServerAsk>, LinkError> {
        self.asks.remove(&seq).ok_or(LinkError::NotAsked)
    }

    fn open(&mut self, ask: &ServerAsk, round_robin: bool) {
        let server = Server { listener: ask.listener(), round_robin };
        self.servers.insert(ask.key(), server);
    }

    fn say(&mut self, message: ToWorker<'_>) -> Result<(), LinkError> {
        let seq = self.next_seq();
        self.out.push_line(message.line(seq)?)
    }

    fn next_seq(&mut self) -> u64 {
        let seq = self.seq;
        self.seq += 1;
        seq
    }
}

fn given_back(HandOff { id, fd, arrived }: HandOff) -> TakenBack {
    TakenBack { id, fd, arrived }
}
