//! What the rooms of the runtime share. Each room keeps its own state, and is lent this for the
//! length of a call.

use std::collections::{BTreeSet, VecDeque};

use config::spec::AppSpec;
use ipc::control::{Notice, NoticeKind};

use super::listeners::Listeners;
use super::node::channel::NodeChannel;
use super::snapshot::Children;
use crate::base::ids::{ListenerId, SocketId, WorkerId};
use crate::limits::NOTES;
use crate::policy::repetition::Repetition;
use crate::primary::event::{Cue, Event};
use crate::sys::clock;
use crate::sys::poller::Poller;

/// See the module.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) spec: &'a AppSpec,
    pub(super) poller: &'a Poller,
    pub(super) children: &'a mut Children,
    pub(super) listeners: &'a mut Listeners,
    /// What the core hears in the next step.
    pub(super) inbox: &'a mut VecDeque<Event>,
    pub(super) notes: &'a mut Notes,
    /// The state is no longer what was written.
    pub(super) stale: &'a mut bool,
}

/// The context of one call: the fields of a `Runtime` that its rooms share.
macro_rules! context {
    ($runtime:expr) => {
        &mut $crate::runtime::context::Context {
            spec: $runtime.core.spec(),
            poller: &$runtime.events.poller,
            children: &mut $runtime.children,
            listeners: &mut $runtime.listeners,
            inbox: &mut $runtime.events.inbox,
            notes: &mut $runtime.notes,
            stale: &mut $runtime.writer.stale,
        }
    };
}
pub(super) use context;

impl Context<'_> {
    /// Tells the core something about a worker.
    pub(super) fn cue(&mut self, worker: WorkerId, cue: Cue) {
        self.inbox.push_back(Event::Worker { worker, cue });
    }

    /// Something a person should know that the core need not.
    pub(super) fn warn(&mut self, message: String) {
        self.notes.warn(message);
    }

    /// As `warn`, but only the first time, and shown in the status from then on.
    pub(super) fn note(&mut self, message: String) {
        self.notes.note(message);
    }

    /// The Node channel of a worker that has one, to be changed.
    pub(super) fn node(&mut self, worker: WorkerId) -> Option<&mut NodeChannel> {
        self.children.get_mut(&worker)?.node.as_mut()
    }

    /// All listeners.
    pub(super) fn listener_ids(&self) -> Vec<ListenerId> {
        self.listeners.iter().map(|open| open.id).collect()
    }
}

/// A socket of a listener.
pub(super) type Place = (ListenerId, SocketId);

/// What people are told beside what the core says.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Said once, then shown in the status.
    lasting: BTreeSet<String>,
    /// Not yet published.
    news: Vec<Notice>,
    repetition: Repetition,
}

impl Notes {
    /// As a predecessor left them.
    pub(super) fn of(lasting: BTreeSet<String>) -> Self {
        Self { lasting, ..Self::default() }
    }

    /// For the state.
    pub(super) fn lasting(&self) -> &BTreeSet<String> {
        &self.lasting
    }

    /// For the status.
    pub(super) fn iter(&self) -> impl Iterator<Item = &String> {
        self.lasting.iter()
    }

    /// What is to be published now, in the order in which it was said.
    pub(super) fn take_news(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.news)
    }

    /// Something a person should know. What comes too often is counted, and not written.
    pub(super) fn warn(&mut self, message: String) {
        if let Some(message) = self.repetition.hear(clock::now(), message) {
            self.news.push(Notice::of_app(NoticeKind::Warning, message));
        }
    }

    /// As `warn`, but only the first time. Beyond the bound (a worker may say ever new nonsense)
    /// nothing is kept, nor said.
    pub(super) fn note(&mut self, message: String) {
        if self.lasting.len() < NOTES && self.lasting.insert(message.clone()) {
            self.news.push(Notice::of_app(NoticeKind::Warning, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_said_once_and_kept() {
        let mut notes = Notes::default();
        notes.note("one".to_owned());
        notes.warn("two".to_owned());
        notes.note("one".to_owned());
        let news: Vec<String> = notes.take_news().into_iter().map(|news| news.message).collect();
        assert_eq!(news, ["one", "two"]);
        assert!(notes.take_news().is_empty());
        assert!(notes.iter().eq(["one"]));
        for number in 0..2 * NOTES {
            notes.note(format!("nonsense {number}"));
        }
        assert_eq!((notes.lasting().len(), notes.take_news().len()), (NOTES, NOTES - 1));
    }
}
