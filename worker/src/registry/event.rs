//! An event, and what a handler of events returns.

use std::fmt::Display;

use ipc::bus::Peer;
use serde::de::DeserializeOwned;

use crate::channel::batch::Part;

/// A longer text gives its memory back before the next event: 64 KiB.
const MAX_KEPT: usize = 64 * 1024;

/// Something that a worker, or a person on the command line, emitted.
#[derive(Debug, Clone)]
pub struct Event {
    /// The topic.
    pub topic: String,
    /// The sender: a worker, or a person (worker 0).
    pub from: Peer,
    data: String,
}

impl Event {
    pub(crate) fn empty() -> Self {
        Self { topic: String::new(), from: Peer::default(), data: String::new() }
    }

    /// The data as a value.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.data)
    }

    /// The data as JSON text.
    pub fn text(&self) -> &str {
        &self.data
    }

    /// Takes over another event, and keeps its own memory. Returns whether the topic is another.
    pub(crate) fn assign(&mut self, part: Part<'_>) -> bool {
        if self.data.capacity() > MAX_KEPT {
            self.data = String::new();
        }
        self.data.clear();
        self.data.push_str(part.data);
        if self.from != *part.from {
            self.from.clone_from(part.from);
        }
        let another = self.topic != part.topic;
        if another {
            self.topic.clear();
            self.topic.push_str(part.topic);
        }
        another
    }
}

/// What a handler may return: nothing, or a result whose error is reported.
pub trait Outcome {
    /// The error as text.
    fn failure(self) -> Option<String>;
}

impl Outcome for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: Display> Outcome for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}
