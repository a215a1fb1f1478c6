//! The client of the bus: its channel, its registry of handlers, and its state.

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;

use ipc::bus::FromWorker;

use crate::channel::Channel;
use crate::identity::Identity;
use crate::registry::{Registry, Sender};
use crate::state::State;

/// See the module. All [`crate::Worker`] handles of a process share one.
pub(crate) struct Client {
    pub(crate) identity: Option<Identity>,
    /// `None` without a supervisor.
    pub(crate) channel: Option<Channel>,
    pub(crate) registry: Registry,
    pub(crate) state: State,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) fn new(stream: Option<UnixStream>) -> io::Result<Self> {
        let (identity, channel) = (Identity::from_env(), stream.map(Channel::new).transpose()?);
        Ok(Self { identity, channel, registry: Registry::default(), state: State::default() })
    }

    /// Sends a message, if there is a supervisor. `urgent`: in this thread, if possible.
    pub(crate) fn send(&self, message: &FromWorker, urgent: bool) -> io::Result<()> {
        self.channel.as_ref().map_or(Ok(()), |channel| channel.send(message, urgent))
    }

    /// Ends the subscription of a topic that has lost its last handler. A handler that ran, or
    /// another thread, may have added one meanwhile: then nothing changes.
    pub(crate) fn unsubscribe(&self, topic: &str) {
        let is_needed = || {
            let needed = self.registry.handlers.count(topic) > 0;
            if !needed {
                self.registry.events.allow_dropping(topic);
            }
            needed
        };
        match &self.channel {
            Some(channel) => channel.unsubscribe_unless(topic, is_needed),
            None => _ = is_needed(),
        }
    }

    /// A new primary has taken over. It does not know the last registrations, and no calls.
    pub(crate) fn resume(&self) {
        self.state.calls.lose_all();
        if let Some(channel) = &self.channel {
            channel.repeat_registrations(self.state.has_joined());
        }
    }

    /// Writes what waits, and ends the channel, all calls, and the handlers' thread.
    pub(crate) fn end(&self) {
        if let Some(channel) = &self.channel {
            channel.close();
        }
        self.state.set_ended();
        self.state.calls.end();
        self.registry.events.close();
    }
}

impl Sender for Client {
    fn send(&self, message: &FromWorker, urgent: bool) -> io::Result<()> {
        Self::send(self, message, urgent)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.end();
        // Their threads answer what waits, and end.
        self.registry.topics.close();
        self.registry.actions.close();
    }
}
