//! The state of the client: its identity on the bus, its pending calls, shared values and limits.

mod callback_queue;
pub(crate) mod limits;
pub(crate) mod pending_calls;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use ipc::bus::{Json, Peer};

pub(crate) use callback_queue::{Callback, CallbackQueue};
use limits::Limits;
use pending_calls::PendingCalls;

use crate::sync::locked;

type OnDrain = Box<dyn FnOnce() + Send>;

/// See the module.
#[derive(Default)]
pub(crate) struct State {
    life: Mutex<Life>,
    /// Signalled when the supervisor has welcomed this worker, and at the end.
    changed: Condvar,
    pub(crate) calls: PendingCalls,
    pub(crate) limits: Arc<Limits>,
    pub(crate) callbacks: CallbackQueue,
    /// The messages to this worker that the supervisor had to drop.
    pub(crate) dropped: AtomicU64,
}

#[derive(Default)]
struct Life {
    welcome: Option<Peer>,
    refused: Option<String>,
    /// Whether the channel has ended.
    ended: bool,
    draining: bool,
    on_drain: Vec<OnDrain>,
    shared_values: Option<Arc<SharedValues>>,
}

/// The values that all workers share.
#[derive(Debug)]
pub(crate) struct SharedValues {
    pub(crate) version: u64,
    pub(crate) data: Json,
    /// Why the client does not obey the limits among them.
    pub(crate) error: Option<String>,
}

impl State {
    pub(crate) fn set_welcome(&self, you: Peer) {
        locked(&self.life).welcome = Some(you);
        self.changed.notify_all();
    }

    pub(crate) fn set_refused(&self, reason: String) {
        locked(&self.life).refused = Some(reason);
    }

    pub(crate) fn set_ended(&self) {
        locked(&self.life).ended = true;
        self.changed.notify_all();
    }

    /// Waits until the supervisor has welcomed this worker. An error is the reason why it has not.
    pub(crate) fn await_welcome(&self, timeout: Duration) -> Result<(), String> {
        let waits = |life: &mut Life| life.welcome.is_none() && !life.ended;
        let (life, _) = self
            .changed
            .wait_timeout_while(locked(&self.life), timeout, waits)
            .unwrap_or_else(PoisonError::into_inner);
        if life.welcome.is_some() {
            return Ok(());
        }
        let why = if life.ended { "the channel to the supervisor has ended" } else { "no answer" };
        Err(life.refused.clone().unwrap_or_else(|| why.to_owned()))
    }

    /// The identity of this worker on the bus. `None` before the welcome.
    pub(crate) fn peer(&self) -> Option<Peer> {
        locked(&self.life).welcome.clone()
    }

    pub(crate) fn has_joined(&self) -> bool {
        locked(&self.life).welcome.is_some()
    }

    pub(crate) fn has_ended(&self) -> bool {
        locked(&self.life).ended
    }

    pub(crate) fn is_draining(&self) -> bool {
        locked(&self.life).draining
    }

    pub(crate) fn set_draining(&self) {
        locked(&self.life).draining = true;
    }

    /// Keeps a callback for the time when this worker drains. Gives it back if it drains already.
    pub(crate) fn on_drain(&self, run: OnDrain) -> Option<OnDrain> {
        let mut life = locked(&self.life);
        if life.draining {
            return Some(run);
        }
        life.on_drain.push(run);
        None
    }

    pub(crate) fn take_on_drain(&self) -> Vec<OnDrain> {
        std::mem::take(&mut locked(&self.life).on_drain)
    }

    pub(crate) fn shared_values(&self) -> Option<Arc<SharedValues>> {
        locked(&self.life).shared_values.clone()
    }

    pub(crate) fn set_shared_values(&self, values: SharedValues) {
        locked(&self.life).shared_values = Some(Arc::new(values));
    }
}
