//! Events as they lie in frames: read without copying, written from their parts. Events are by far
//! the most frequent messages. The bytes are those of [`FromWorker::Emit`](super::FromWorker::Emit)
//! and [`ToWorker::Event`](super::ToWorker::Event).
//!
//! This module refuses what those refuse. It checks that a worker's data is JSON. It does not check
//! data that the supervisor sends, because the supervisor has checked it already.

use super::check::{self, Unfit};
use super::codec::{Codec, DecodeError};
use super::{Json, Peer, frame, json, line};

/// One event in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The topic.
    pub topic: &'a str,
    /// JSON text.
    pub data: &'a str,
    /// The sender, as [`Origin`] writes it; empty in a message from a worker.
    pub from: &'a [u8],
}

/// What a decoder found.
#[derive(Debug)]
pub enum Found<'a, T> {
    /// An event of a frame. The events of lines are in `Other`.
    Event(Event<'a>),
    /// Any message.
    Other(T),
}

impl Event<'_> {
    /// The peer that emitted the event.
    pub fn peer(&self) -> Result<Peer, DecodeError> {
        let peer = frame::read_peer(self.from)?;
        check::peer(&peer)?;
        Ok(peer)
    }

    /// The data of an event that was checked.
    pub fn json(&self) -> Json {
        Json::known(self.data.to_owned())
    }

    pub(super) fn check(&self, believed: bool) -> Result<(), Unfit> {
        check::event(self.topic, self.data)?;
        if believed || json::is_sound(self.data) { Ok(()) } else { Err(Unfit::NotJson) }
    }
}

/// The sender of events in both codecs: encoded once, not for each event.
#[derive(Debug, Clone)]
pub struct Origin {
    frames: Vec<u8>,
    lines: Vec<u8>,
}

impl Origin {
    /// The origin for this worker.
    pub fn of(peer: &Peer) -> Self {
        // A number and a name can always be written.
        let lines = serde_json::to_vec(peer).unwrap_or_default();
        Self { frames: frame::peer(peer).unwrap_or_default(), lines }
    }
}

/// Appends an emitted event as a frame. `data` is JSON text.
pub fn emit(topic: &str, data: &str, to: &mut Vec<u8>) -> Result<(), DecodeError> {
    frame::write_event::<super::FromWorker>(topic, data, &[], to)
}

/// Appends an event for a subscriber.
pub fn event(
    codec: Codec,
    topic: &str,
    data: &str,
    from: &Origin,
    to: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    match codec {
        Codec::Frames => frame::write_event::<super::ToWorker>(topic, data, &from.frames, to),
        Codec::Lines => line::write_event(topic, data, &from.lines, to),
    }
}
