//! What the rooms of the runtime share. Each room keeps its own state, and is lent this for the
//! length of a call.

use std::collections::VecDeque;

use config::spec::AppSpec;

use super::listeners::Listeners;
use super::notes::Notes;
use super::snapshot::pieces::Children;
pub(super) use crate::base::ids::Place;
use crate::base::ids::{ListenerId, WorkerId};
use crate::primary::event::{Cue, Event};
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
            stale: &mut $runtime.succession.writer.stale,
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

    /// All listeners.
    pub(super) fn listener_ids(&self) -> Vec<ListenerId> {
        self.listeners.iter().map(|open| open.id).collect()
    }
}
