//! Bytes in, split anywhere; messages out. The first byte selects the codec.
//!
//! The decoder holds at most one incomplete frame, and never more than it received.

use std::io::BufRead;
use std::marker::PhantomData;

use bincode::{Decode, Encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::check::Check;
use super::codec::{Codec, DecodeError};
use super::event::{Event, Found};
use super::frame::{self, HEADER, Known, MAGIC};
use super::{MAX_FRAME, line};

impl Codec {
    /// Appends one message.
    pub fn write<T: Encode + Serialize>(
        self,
        message: &T,
        to: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        match self {
            Self::Frames => frame::write(message, to),
            Self::Lines => line::write(message, to),
        }
    }
}

/// A message of one direction of a channel.
pub trait Message: Encode + Decode<()> + Serialize + DeserializeOwned + Known + Check {}

impl<T: Encode + Decode<()> + Serialize + DeserializeOwned + Known + Check> Message for T {}

/// Collects bytes until they form whole messages of one kind.
#[derive(Debug)]
pub struct Decoder<T> {
    buffer: Vec<u8>,
    /// The bytes before this index have been read.
    start: usize,
    /// No newline is in the bytes from `start` to this index.
    scanned: usize,
    codec: Option<Codec>,
    /// An earlier reader may have read part of the first message.
    resuming: bool,
    kind: PhantomData<fn() -> T>,
}

impl<T> Default for Decoder<T> {
    fn default() -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            codec: None,
            resuming: false,
            kind: PhantomData,
        }
    }
}

impl<T: Message> Decoder<T> {
    /// A decoder for a channel whose earlier reader ended, perhaps in the middle of a message. It
    /// skips the rest of that message: the rest of a line is never JSON, and JSON never holds a
    /// frame's header.
    pub fn resuming(codec: Codec) -> Self {
        Self { codec: Some(codec), resuming: true, ..Self::default() }
    }

    /// Adds received bytes. The caller should first have taken all messages of earlier bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.scanned -= self.start.min(self.scanned);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
        if self.codec.is_none() {
            self.codec = self.buffer.first().map(|first| match *first {
                MAGIC => Codec::Frames,
                _ => Codec::Lines,
            });
        }
    }

    /// The codec, known once the first byte has arrived.
    pub fn codec(&self) -> Option<Codec> {
        self.codec
    }

    /// How many bytes the decoder holds.
    pub fn held(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// The next whole message. `None` means that more bytes are needed. Skips unknown messages.
    pub fn next_message(&mut self) -> Result<Option<T>, DecodeError> {
        loop {
            let (message, end) = match self.codec {
                None => return Ok(None),
                Some(Codec::Frames) if self.resuming => {
                    let Some(found) = self.first_frame() else { return Ok(None) };
                    found
                }
                Some(Codec::Frames) => {
                    let rest = &self.buffer[self.start..];
                    let Some(length) = frame::body(rest)? else { return Ok(None) };
                    let Some(body) = rest.get(HEADER..HEADER + length) else { return Ok(None) };
                    (frame::read(body)?, self.start + HEADER + length)
                }
                Some(Codec::Lines) => {
                    let Some(end) = self.newline()? else { return Ok(None) };
                    let message = match line::read(&self.buffer[self.start..end]) {
                        Err(_) if self.resuming => None,
                        message => message?,
                    };
                    (message, end + 1)
                }
            };
            self.resuming = false;
            self.start = end;
            self.scanned = end;
            let Some(message): Option<T> = message else { continue };
            message.check()?;
            return Ok(Some(message));
        }
    }

    /// As [`Decoder::next_message`], without copying the events of frames.
    pub fn next_found(&mut self) -> Result<Option<Found<'_, T>>, DecodeError> {
        let rest = &self.buffer[self.start..];
        if self.codec == Some(Codec::Frames)
            && !self.resuming
            && rest.get(HEADER) == Some(&T::EVENT)
            && let Some(length @ 1..) = frame::body(rest)?
            && rest.len() >= HEADER + length
        {
            let body = self.start + HEADER;
            self.start = body + length;
            self.scanned = self.start;
            let (topic, data, from) = frame::event::<T>(&self.buffer[body..self.start])?;
            let event = Event { topic, data, from };
            event.check(T::BELIEVED)?;
            return Ok(Some(Found::Event(event)));
        }
        Ok(self.next_message()?.map(Found::Other))
    }

    /// The first valid message after the rest of another one, and where it ends. `None` means that
    /// more bytes are needed.
    fn first_frame(&mut self) -> Option<(Option<T>, usize)> {
        loop {
            let magic = self.buffer[self.start..].iter().position(|byte| *byte == MAGIC);
            self.start = magic.map_or(self.buffer.len(), |at| self.start + at);
            let rest = &self.buffer[self.start..];
            if let Ok(length) = frame::body(rest) {
                let body = rest.get(HEADER..HEADER + length?)?;
                let message = frame::read::<T>(body).ok().flatten();
                if let Some(message) = message.filter(|message| message.check().is_ok()) {
                    return Some((Some(message), self.start + HEADER + body.len()));
                }
            }
            self.start += 1;
        }
    }

    /// The end of the line that begins at `start`.
    fn newline(&mut self) -> Result<Option<usize>, DecodeError> {
        let from = self.scanned.max(self.start);
        let mut rest = &self.buffer[from..];
        // Reading from memory cannot fail.
        let passed = rest.skip_until(b'\n').unwrap_or_default();
        if passed == 0 || self.buffer[from + passed - 1] != b'\n' {
            self.scanned = self.buffer.len();
            return if self.held() >= MAX_FRAME { Err(DecodeError::TooLong) } else { Ok(None) };
        }
        let end = from + passed - 1;
        if end - self.start >= MAX_FRAME { Err(DecodeError::TooLong) } else { Ok(Some(end)) }
    }
}
