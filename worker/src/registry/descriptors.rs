//! Descriptors that other workers give to this one, and their handlers.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use ipc::bus::{Json, Peer};
use serde::de::DeserializeOwned;

use crate::sync::locked;

/// The descriptors that may wait for their handler. The client closes further ones.
const MAX_WAITING: usize = 16;

/// A descriptor that another worker gave.
#[derive(Debug)]
pub struct Given {
    /// The topic.
    pub topic: String,
    /// The worker that gave it.
    pub from: Peer,
    /// The descriptor, close-on-exec.
    pub fd: OwnedFd,
    data: Json,
}

impl Given {
    /// The data as a value.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        self.data.read()
    }
}

/// The handlers' queues, and the descriptors that came before their messages.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    handlers: Mutex<BTreeMap<String, SyncSender<Given>>>,
    /// `None` stands for a descriptor that the kernel could not deliver.
    unclaimed: Mutex<VecDeque<Option<OwnedFd>>>,
}

impl Descriptors {
    /// Sets the handler of a topic: what comes goes to the receiver.
    pub(crate) fn handle(&self, topic: &str) -> Receiver<Given> {
        let (sender, receiver) = sync_channel(MAX_WAITING);
        locked(&self.handlers).insert(topic.to_owned(), sender);
        receiver
    }

    /// Keeps descriptors until their messages come, which is never earlier.
    pub(crate) fn keep(&self, fds: Vec<Option<OwnedFd>>) {
        if !fds.is_empty() {
            locked(&self.unclaimed).extend(fds);
        }
    }

    /// Passes the oldest descriptor on to the handler of the message that belongs to it.
    pub(crate) fn claim(&self, topic: String, data: Json, from: Peer) {
        let fd = locked(&self.unclaimed).pop_front();
        let Some(fd) = fd.flatten() else {
            return eprintln!("supervisor: a message on {topic:?} came without its descriptor");
        };
        let handlers = locked(&self.handlers);
        let Some(handler) = handlers.get(&topic) else { return };
        if handler.try_send(Given { topic, from, fd, data }).is_err() {
            eprintln!(
                "supervisor: a descriptor was closed: {MAX_WAITING} wait for their handler already"
            );
        }
    }
}
