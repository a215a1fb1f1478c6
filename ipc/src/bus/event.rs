//! Events as they lie in frames: read without copying them, written from their parts. Nothing else
//! is said so often. The bytes are those of [`FromWorker::Emit`](super::FromWorker::Emit) and
//! [`ToWorker::Event`](super::ToWorker::Event).
//!
//! Refuses what these refuse. What a worker says is not believed to be JSON; what it hears has been
//! looked at by the supervisor.

use super::check::{self, Unfit};
use super::decode::{Codec, DecodeError};
use super::{Json, Peer, frame, json, line};

/// An event in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The topic.
    pub topic: &'a str,
    /// JSON text.
    pub data: &'a str,
    /// Who, as [`Origin`] writes it; empty in what a worker says.
    pub from: &'a [u8],
}

/// What a decoder found.
#[derive(Debug)]
pub enum Found<'a, T> {
    /// An event of a frame. Those of lines are among the others.
    Event(Event<'a>),
    /// Any message.
    Other(T),
}

impl Event<'_> {
    /// Who emitted it.
    pub fn peer(&self) -> Result<Peer, DecodeError> {
        let peer = frame::read_peer(self.from)?;
        check::peer(&peer)?;
        Ok(peer)
    }

    /// Of a sound event.
    pub fn json(&self) -> Json {
        Json::known(self.data.to_owned())
    }

    pub(super) fn check(&self, believed: bool) -> Result<(), Unfit> {
        check::event(self.topic, self.data)?;
        if believed || json::is_sound(self.data) { Ok(()) } else { Err(Unfit::NotJson) }
    }
}

/// Who emits, in both codecs: written once, not for each event.
#[derive(Debug, Clone)]
pub struct Origin {
    frames: Vec<u8>,
    lines: Vec<u8>,
}

impl Origin {
    /// As this worker.
    pub fn of(peer: &Peer) -> Self {
        // A number and a name always can be written.
        let lines = serde_json::to_vec(peer).unwrap_or_default();
        Self { frames: frame::peer(peer).unwrap_or_default(), lines }
    }
}

/// Appends what a worker emits, as a frame. `data` is JSON text.
pub fn emit(topic: &str, data: &str, to: &mut Vec<u8>) -> Result<(), DecodeError> {
    frame::write_event::<super::FromWorker>(topic, data, &[], to)
}

/// Appends what a worker hears.
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
