//! Events that came together, in a few pieces of memory.
//!
//! Events are the most frequent messages. One allocation for each part of each event would cost
//! more than all other work on it.

use std::collections::VecDeque;
use std::ops::Range;

use ipc::bus::Peer;
use ipc::bus::codec::DecodeError;
use ipc::bus::event;

/// A batch of fewer bytes than this takes further single events.
const SMALL: usize = 64 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    text: String,
    events: VecDeque<Place>,
    peers: Vec<Peer>,
    /// The bytes of the last peer in its message, to recognise the next message of that peer.
    last: Vec<u8>,
    /// The bytes of the data of all events.
    bytes: usize,
}

/// The place of one event in `text`, and the index of its sender in `peers`.
#[derive(Debug, Clone)]
struct Place {
    topic: Range<usize>,
    data: Range<usize>,
    from: usize,
}

/// One event of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) topic: &'a str,
    pub(crate) data: &'a str,
    pub(crate) from: &'a Peer,
}

impl Batch {
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// Bytes of the data of all events.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_small(&self) -> bool {
        self.text.len() < SMALL
    }

    /// Adds an event that came over the channel.
    pub(crate) fn add_found(&mut self, event: event::Event<'_>) -> Result<(), DecodeError> {
        if self.peers.is_empty() || self.last != event.from {
            self.peers.push(event.peer()?);
            self.last.clear();
            self.last.extend_from_slice(event.from);
        }
        self.put(event.topic, event.data);
        Ok(())
    }

    /// Adds an event.
    pub(crate) fn add(&mut self, topic: &str, data: &str, from: Peer) {
        if self.peers.last() != Some(&from) {
            self.peers.push(from);
            self.last.clear();
        }
        self.put(topic, data);
    }

    fn put(&mut self, topic: &str, data: &str) {
        let last = self.events.back().map(|place| place.topic.clone());
        let topic = match last {
            Some(last) if self.text[last.clone()] == *topic => last,
            _ => self.keep(topic),
        };
        let data = self.keep(data);
        self.bytes += data.len();
        self.events.push_back(Place { topic, data, from: self.peers.len() - 1 });
    }

    fn keep(&mut self, text: &str) -> Range<usize> {
        let start = self.text.len();
        self.text.push_str(text);
        start..self.text.len()
    }

    fn part(&self, place: &Place) -> Option<Part<'_>> {
        let (topic, data) = (&self.text[place.topic.clone()], &self.text[place.data.clone()]);
        Some(Part { topic, data, from: self.peers.get(place.from)? })
    }

    /// All events, in order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.events.iter().filter_map(|place| self.part(place))
    }

    /// Drops the oldest event, and returns the bytes of its data.
    pub(crate) fn drop_oldest(&mut self) -> Option<usize> {
        let length = self.events.pop_front()?.data.len();
        self.bytes -= length;
        Some(length)
    }

    /// Drops all events, and keeps the memory if it is little.
    pub(crate) fn clear(&mut self) {
        if self.text.capacity() > 2 * SMALL {
            *self = Self::default();
        }
        self.text.clear();
        self.events.clear();
        self.peers.clear();
        self.last.clear();
        self.bytes = 0;
    }
}
