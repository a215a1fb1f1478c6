//! When the primary reads a worker's Node channel. It only peeks at a message that begins
//! something, until the consequences are in the snapshot. Acknowledgements come in great numbers,
//! so it reads those late and many at a time.

use std::os::fd::{AsFd, OwnedFd};

use super::channel::NodeChannel;
use super::{Node, channel as node_channel};
use crate::base::ids::WorkerId;
use crate::base::time::Time;
use crate::runtime::context::Context;
use crate::runtime::handover::HandOver;
use crate::runtime::snapshot::pieces::Children;
use crate::runtime::workers::Child;
use crate::sys::channel::{self, Received};
use crate::sys::usage;

/// A queue of this many bytes is worth returning to the kernel at once. A worker that reads has
/// far less waiting.
const LARGE_QUEUE: usize = 1 << 20;

impl Node {
    /// Bytes on a worker's channel, or room for some.
    pub(in crate::runtime) fn take_channel(
        &mut self,
        hands: &mut HandOver,
        at: &mut Context<'_>,
        worker: WorkerId,
        readable: bool,
    ) {
        if readable {
            // What is left makes it readable again.
            let mut bytes = std::mem::take(&mut self.bytes);
            self.read_first(hands, at, worker, &mut bytes);
            self.bytes = bytes;
        }
        node_channel::write(at, worker);
    }

    /// Peeks at what waits, and leaves the whole lines in the channel until their consequences are
    /// in the snapshot, so that a successor reads them again. That costs one more system call,
    /// which only matters for acknowledgements, and these no successor needs.
    fn read_first(
        &mut self,
        hands: &mut HandOver,
        at: &mut Context<'_>,
        worker: WorkerId,
        bytes: &mut [u8],
    ) {
        let Some(node) = at.node(worker) else { return };
        if node.peeked > 0 {
            return;
        }
        let whole = match node.link.pending() {
            0 => channel::whole_lines(node.fd(), bytes),
            _ => None,
        };
        let Some(count) = whole else {
            self.read_once(hands, at, worker, bytes);
            return;
        };
        node.peeked = count;
        self.peeked = true;
        self.hear(hands, at, worker, (&bytes[..count], Vec::new()));
    }

    /// The consequences of the bytes that the primary peeked at are in the snapshot now.
    pub(in crate::runtime) fn done_with_channels(&mut self, children: &mut Children) {
        if !std::mem::take(&mut self.peeked) {
            return;
        }
        let peeked = |child: &&Child| child.node().is_some_and(|n| n.peeked > 0);
        let all = children.values().filter(peeked).map(|child| child.id);
        for worker in all.collect::<Vec<_>>() {
            self.done_with_channel(children, worker);
        }
    }

    /// Does the same for a channel that is about to be read on.
    fn done_with_channel(&mut self, children: &mut Children, worker: WorkerId) {
        let Some(node) = children.get_mut(&worker).and_then(Child::node_mut) else { return };
        let peeked = std::mem::take(&mut node.peeked);
        channel::skip(node.fd(), peeked, &mut self.bytes);
    }

    /// Reads at most this many times.
    pub(in crate::runtime) fn read(
        &mut self,
        hands: &mut HandOver,
        at: &mut Context<'_>,
        worker: WorkerId,
        times: usize,
    ) {
        // Bytes that the primary has peeked at must not be interpreted twice.
        self.done_with_channel(at.children, worker);
        let mut bytes = std::mem::take(&mut self.bytes);
        for _ in 0..times {
            if !self.read_once(hands, at, worker, &mut bytes) {
                break;
            }
        }
        self.bytes = bytes;
    }

    /// Reads once; false: there is nothing more to come now.
    fn read_once(
        &mut self,
        hands: &mut HandOver,
        at: &mut Context<'_>,
        worker: WorkerId,
        bytes: &mut [u8],
    ) -> bool {
        let Some(node) = at.node(worker) else { return false };
        let why = match channel::receive(node.fd(), bytes) {
            Ok(Received::Some(count, fds)) => {
                return self.hear(hands, at, worker, (&bytes[..count], fds));
            }
            Ok(Received::Nothing) => return false,
            Ok(Received::End) => None,
            Err(error) => Some(error.to_string()),
        };
        self.close(hands, at, worker, why);
        false
    }

    /// Takes what came; whether the channel goes on.
    fn hear(
        &mut self,
        hands: &mut HandOver,
        at: &mut Context<'_>,
        worker: WorkerId,
        (bytes, fds): (&[u8], Vec<OwnedFd>),
    ) -> bool {
        let Some(node) = at.node(worker) else { return false };
        let mut words = Vec::new();
        let taken = node.link.take(bytes, fds, &mut words);
        for word in words {
            self.take_word(hands, at, worker, word);
        }
        match taken {
            Ok(()) => true,
            Err(error) => {
                self.close(hands, at, worker, Some(error.to_string()));
                false
            }
        }
    }

    /// Ends a channel. `why`: the worker broke the protocol; else it closed its end.
    pub(super) fn close(
        &mut self,
        hands: &mut HandOver,
        at: &mut Context<'_>,
        worker: WorkerId,
        why: Option<String>,
    ) {
        let Some(child) = at.children.get_mut(&worker) else { return };
        let Some(mut node) = child.endpoints.take::<NodeChannel>() else { return };
        *at.stale = true;
        at.poller.remove(node.fd().as_fd());
        if let Some(why) = why {
            let (slot, pid) = (child.slot, child.pid.0);
            at.notes.warn(format!("the channel of slot {slot} (pid {pid}) was closed: {why}"));
        }
        hands.throttle().forget(worker);
        let is_large = node.link.queued() > LARGE_QUEUE;
        hands.take_back(at, node.link.take_back());
        drop(node);
        if is_large {
            usage::return_freed_memory();
        }
    }

    /// Reads what was left for later. The poller waits again for a worker that has nothing to say.
    pub(in crate::runtime) fn read_answers(
        &mut self,
        hands: &mut HandOver,
        at: &mut Context<'_>,
        now: Time,
    ) {
        if !hands.takes_answers(now) {
            return;
        }
        let later = |child: &Child| child.node().is_some_and(|node| node.read_later);
        let workers = at.children.values().filter(|child| later(child)).map(|child| child.id);
        for worker in workers.collect::<Vec<_>>() {
            let before = at.node(worker).map(|node| node.link.pending());
            self.read(hands, at, worker, 1);
            node_channel::write(at, worker);
            let Some(node) = at.node(worker) else { continue };
            if node.link.pending() < 2 || before == Some(node.link.pending()) {
                node.read_later = false;
                node_channel::watch(at, worker);
            } else {
                hands.awaits_answers(now);
            }
        }
    }

    /// A worker has ended: what it said last may be that it took a connection.
    pub(in crate::runtime) fn end(
        &mut self,
        hands: &mut HandOver,
        at: &mut Context<'_>,
        worker: WorkerId,
        times: usize,
    ) {
        self.read(hands, at, worker, times);
        let back = at.node(worker).map(|node| node.link.take_back());
        hands.throttle().forget(worker);
        hands.take_back(at, back.unwrap_or_default());
    }
}
