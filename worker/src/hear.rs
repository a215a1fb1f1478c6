//! What the supervisor says, and what follows from it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ipc::bus::decode::DecodeError;
use ipc::bus::event::Found;
use ipc::bus::{FromWorker, ToWorker};

use crate::bus::{Inner, locked};
use crate::calls::Mine;
use crate::chores::Chore;
use crate::reading::{Lead, Patience, Read, Reader, Reading};

/// How a read went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Went {
    /// Something came, and there is probably more.
    More,
    Some,
    Nothing,
    /// The channel has ended.
    Over,
}

impl Inner {
    /// The thread of ours: it reads what nobody reads who waits for it.
    pub(crate) fn read(self: &Arc<Self>, reading: &Reading) {
        loop {
            if reading.wait().is_err() {
                return self.end();
            }
            let Some(mut lead) = reading.lead(true) else { continue };
            let mut went = Went::More;
            while went == Went::More {
                went = self.read_once(&mut lead, Patience::None, &mut Mine::default());
            }
            if went == Went::Over {
                return;
            }
        }
    }

    /// Reads and hears once.
    pub(crate) fn read_once(
        self: &Arc<Self>,
        lead: &mut Lead<'_>,
        patience: Patience,
        mine: &mut Mine<'_>,
    ) -> Went {
        if lead.reader.over {
            return Went::Over;
        }
        let (ended, went) = match lead.read(patience) {
            Ok(Read::Some { fds, more }) => {
                self.gifts.keep(fds);
                let went = if more { Went::More } else { Went::Some };
                (self.hear_all(&mut lead.reader, mine), went)
            }
            Ok(Read::Nothing) => (Ok(()), Went::Nothing),
            Ok(Read::End) | Err(_) => (Err(None), Went::Over),
        };
        if let Err(error) = ended {
            if let Some(error) = error {
                eprintln!("supervisor: the bus sent what cannot be read: {error}");
            }
            lead.reader.over = true;
            self.end();
            return Went::Over;
        }
        went
    }

    /// Hears what has come whole.
    fn hear_all(
        self: &Arc<Self>,
        reader: &mut Reader,
        mine: &mut Mine<'_>,
    ) -> Result<(), Option<DecodeError>> {
        loop {
            let other = match reader.decoder.next_found() {
                Ok(Some(Found::Event(event))) => {
                    reader.events.add_found(event)?;
                    continue;
                }
                Ok(Some(Found::Other(message))) => Ok(Some(message)),
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            };
            if reader.events.len() > 0 {
                self.handlers.push_from_bus(&mut reader.events);
            }
            match other? {
                Some(message) => self.hear(message, mine),
                None => return Ok(()),
            }
        }
    }

    fn hear(self: &Arc<Self>, message: ToWorker, mine: &mut Mine<'_>) {
        match message {
            ToWorker::Welcome { you, .. } => {
                locked(&self.state).welcome = Some(you);
                self.changed.notify_all();
            }
            ToWorker::Refused { reason } => {
                eprintln!("supervisor: this worker was cut off from the bus: {reason}");
                locked(&self.state).refused = Some(reason);
            }
            ToWorker::Event { topic, data, from } => {
                self.handlers.push(&topic, data.text(), from);
            }
            ToWorker::Call { id, topic, data, from, timeout_ms } => {
                let request = self.request(id, topic, data, from, timeout_ms);
                self.take_call(request, mine);
            }
            ToWorker::Answer { id, data } => mine.others |= self.calls.done(id, Ok(data)),
            ToWorker::Error { id, kind, message } => {
                mine.others |= self.calls.done(id, Err((kind, message)));
            }
            ToWorker::Config { version, data } => self.learn(version, data),
            ToWorker::Drain {} => {
                locked(&self.state).draining = true;
                self.give_chore(Chore::Drain);
            }
            ToWorker::Trigger { id, action, data } => self.take_trigger(id, &action, data),
            ToWorker::Dropped { count } => self.lost.store(count, Ordering::Relaxed),
            ToWorker::Ping { id } => {
                let _ = self.say(&FromWorker::Pong { id }, true);
            }
            ToWorker::Resumed {} => self.resume(),
            ToWorker::Pong { .. } => {}
            ToWorker::Given { topic, data, from } => self.gifts.take(topic, data, from),
        }
    }
}
