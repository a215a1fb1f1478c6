//! A worker's Node channel: its socket, the servers that it serves, and what the poller waits for.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use ipc::control::Contract;

use crate::base::ids::WorkerId;
use crate::protocol::node::NodeLink;
use crate::runtime::context::{Context, Place};
use crate::runtime::source::Source;
use crate::runtime::workers::Child;
use crate::sys::channel;

/// A Node worker's channel and the servers that it was given by it.
#[derive(Debug)]
pub(crate) struct NodeChannel {
    stream: UnixStream,
    pub(crate) link: NodeLink,
    /// Its servers, by Node's key.
    pub(crate) servers: BTreeMap<String, Place>,
    /// The poller waits for room to write.
    waits_for_room: bool,
    /// The poller does not wait for bytes: the primary reads the channel now and then.
    pub(in crate::runtime) read_later: bool,
    /// How many bytes the primary has peeked at; they are still in the channel.
    pub(super) peeked: usize,
    /// The last call of [`Self::settle`] found that the worker had read everything.
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
            waits_for_room: false,
            read_later: false,
            was_quiet: false,
            peeked: 0,
        };
        Ok((channel, theirs.into()))
    }

    /// The channel of a predecessor.
    pub(crate) fn from_parts(
        stream: OwnedFd,
        link: NodeLink,
        servers: BTreeMap<String, Place>,
    ) -> Self {
        let stream = stream.into();
        Self {
            stream,
            link,
            servers,
            waits_for_room: false,
            read_later: false,
            was_quiet: false,
            peeked: 0,
        }
    }

    /// For the poller.
    pub(crate) fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Allows new connections once the worker has read everything that a predecessor sent. Two
    /// calls must find that, because the worker answers the last message in between. Returns
    /// whether connections are allowed now.
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
    pub(crate) fn key_of(&self, place: Place) -> Option<&str> {
        self.servers.iter().find(|(_, at)| **at == place).map(|(key, _)| key.as_str())
    }
}

impl Child {
    /// Its Node channel, if it has one.
    pub(in crate::runtime) fn node(&self) -> Option<&NodeChannel> {
        self.endpoints.get()
    }

    /// The same, to be changed.
    pub(in crate::runtime) fn node_mut(&mut self) -> Option<&mut NodeChannel> {
        self.endpoints.get_mut()
    }

    /// Connections that were handed to it and that it has not taken.
    pub(in crate::runtime) fn handed(&self) -> u32 {
        let pending = self.node().map_or(0, |node| node.link.pending());
        u32::try_from(pending).unwrap_or(u32::MAX)
    }
}

impl Context<'_> {
    /// The Node channel of a worker that has one, to be changed.
    pub(in crate::runtime) fn node(&mut self, worker: WorkerId) -> Option<&mut NodeChannel> {
        self.children.get_mut(&worker)?.node_mut()
    }
}

/// Writes what a worker's channel has room for.
pub(in crate::runtime) fn write(at: &mut Context<'_>, worker: WorkerId) {
    loop {
        let Some(node) = at.node(worker) else { return };
        let Some(packet) = node.link.next_packet() else { break };
        match channel::send(node.stream.as_fd(), packet.bytes, packet.fd) {
            Ok(Some(count)) => node.link.wrote(count),
            Ok(None) => break,
            // The worker has closed its end; what it still wrote is read first.
            Err(_) => break,
        }
    }
    let Some(node) = at.node(worker) else { return };
    let wanted = node.link.next_packet().is_some();
    if wanted != node.waits_for_room {
        node.waits_for_room = wanted;
        watch(at, worker);
    }
}

/// Tells a Node worker whether to end each kept connection with its next response. If the channel
/// is full, the worker's connections drain like those of any other program.
pub(in crate::runtime) fn end_kept(at: &mut Context<'_>, worker: WorkerId, ends: bool) {
    let child = at.children.get_mut(&worker).filter(|child| child.ends_kept);
    let Some(node) = child.and_then(Child::node_mut) else { return };
    if node.link.end_kept(ends).is_ok() {
        write(at, worker);
    }
}

/// Has the poller wait for what the channel waits for.
pub(in crate::runtime) fn watch(at: &mut Context<'_>, worker: WorkerId) {
    let Some(node) = at.children.get(&worker).and_then(Child::node) else { return };
    let (token, fd) = (Source::Endpoint(Contract::Node, worker).token(), node.stream.as_fd());
    let watched = at.poller.watch(fd, token, !node.read_later, node.waits_for_room);
    if let Err(error) = watched {
        at.warn(format!("cannot watch a worker's channel: {error}"));
    }
}
