//! The channel to the supervisor: an outbox, an inbox, and registrations that outlive a primary.

mod ancillary;
pub(crate) mod batch;
pub(crate) mod inbox;
pub(crate) mod inherited;
pub(crate) mod message;
mod outbox;
mod reading_role;
mod registrations;

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use ipc::bus::{FromWorker, event};

use inbox::Inbox;
use outbox::Outbox;
use registrations::Registrations;

use crate::sync::locked;

/// See the module.
#[derive(Debug)]
pub(crate) struct Channel {
    outbox: Arc<Outbox>,
    pub(crate) inbox: Inbox,
    /// Held while a registration is written, so that the supervisor gets them in this order.
    registrations: Mutex<Registrations>,
}

impl Channel {
    /// Starts the writer thread.
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        let reader = stream.try_clone()?;
        let outbox = Outbox::new(stream)?;
        Ok(Self { outbox, inbox: Inbox::new(reader)?, registrations: Mutex::default() })
    }

    /// Sends a message. `urgent`: in this thread, if possible.
    pub(crate) fn send(&self, message: &FromWorker, urgent: bool) -> io::Result<()> {
        let frame = message::frame(message)?;
        let mut registrations = message.lasts().then(|| locked(&self.registrations));
        if let Some(registrations) = &mut registrations {
            registrations.record(message);
        }
        self.outbox.push(&frame, urgent)
    }

    /// Sends an event that is known to fit, without a copy.
    pub(crate) fn emit(&self, topic: &str, data: &str) -> io::Result<()> {
        self.outbox
            .push_with(false, |bytes| event::emit(topic, data, bytes).map_err(io::Error::other))
    }

    /// Sends a message with a descriptor.
    pub(crate) fn send_descriptor(
        &self,
        message: &FromWorker,
        fd: BorrowedFd<'_>,
    ) -> io::Result<()> {
        self.outbox.push_descriptor(&message::frame(message)?, fd)
    }

    /// Ends a subscription, unless `is_needed`. Another thread may have added a handler meanwhile;
    /// such a thread subscribes under the lock under which `is_needed` is asked here.
    pub(crate) fn unsubscribe_unless(&self, topic: &str, is_needed: impl FnOnce() -> bool) {
        let message = FromWorker::Unsubscribe { topic: topic.to_owned() };
        let Ok(frame) = message::frame(&message) else { return };
        let mut registrations = locked(&self.registrations);
        if !is_needed() {
            registrations.record(&message);
            // The reading thread notices the end of the channel.
            let _ = self.outbox.push(&frame, true);
        }
    }

    /// Repeats all registrations to a new primary. `joined`: without the hello.
    pub(crate) fn repeat_registrations(&self, joined: bool) {
        let registrations = locked(&self.registrations);
        for message in registrations.all(joined) {
            let sent = message::frame(message).and_then(|frame| self.outbox.push(&frame, true));
            if sent.is_err() {
                // The reading thread notices the end of the channel.
                return;
            }
        }
    }

    /// Writes what waits, and closes the channel in both directions.
    pub(crate) fn close(&self) {
        self.outbox.close();
    }
}
