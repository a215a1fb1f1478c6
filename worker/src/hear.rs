//! What the supervisor says, and what follows from it.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ipc::bus::decode::Decoder;
use ipc::bus::{FromWorker, Json, ToWorker};

use crate::bus::{Inner, locked, short};
use crate::gifts;
use crate::handlers::{Event, contained};

/// Bytes read at a time.
const READ: usize = 64 * 1024;

impl Inner {
    /// The reading thread.
    pub(crate) fn read(self: Arc<Self>, stream: UnixStream) {
        let mut decoder = Decoder::<ToWorker>::default();
        let mut bytes = vec![0; READ];
        'reading: loop {
            let count = match gifts::receive(&stream, &mut bytes) {
                Ok((0, _)) => break,
                Ok((count, fds)) => {
                    self.gifts.keep(fds);
                    count
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            decoder.push(&bytes[..count]);
            loop {
                match decoder.next_message() {
                    Ok(Some(message)) => self.hear(message),
                    Ok(None) => break,
                    Err(error) => {
                        eprintln!("supervisor: the bus sent what cannot be read: {error}");
                        break 'reading;
                    }
                }
            }
        }
        self.end();
    }

    fn hear(self: &Arc<Self>, message: ToWorker) {
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
                self.handlers.push_from_bus(Event { topic, from, data });
            }
            ToWorker::Call { id, topic, data, from, timeout_ms } => {
                self.take_call(id, topic, data, from, timeout_ms);
            }
            ToWorker::Answer { id, data } => self.calls.done(id, Ok(data)),
            ToWorker::Error { id, kind, message } => self.calls.done(id, Err((kind, message))),
            ToWorker::Config { version, data } => self.take_config(version, data),
            ToWorker::Drain {} => self.drain(),
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

    fn take_config(&self, version: u64, data: Json) {
        let limits = self.limits.configure(&data);
        let handler = locked(&self.configure).clone();
        let error = handler.and_then(|handler| contained(|| handler(&data).err())).or(limits);
        locked(&self.state).config = Some(data);
        let _ = self.say(&FromWorker::Applied { version, error: error.map(short) }, true);
    }

    fn drain(&self) {
        let mut state = locked(&self.state);
        state.draining = true;
        let runs = std::mem::take(&mut state.on_drain);
        drop(state);
        for run in runs {
            let why = contained(|| {
                run();
                None
            });
            if let Some(why) = why {
                eprintln!("supervisor: a handler of draining failed: {why}");
            }
        }
    }
}
