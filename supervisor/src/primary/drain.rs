//! When a worker that gets no new connections holds none any more: judged from what the kernel
//! shows, never from what the worker says.

use std::time::Duration;

use super::event::Look;
use super::time::Time;
use super::words;

/// From the answer to one look to the next look.
const LOOK_EVERY: Duration = Duration::from_millis(15);
/// So many calm looks in a row, and the worker is drained. One alone may fall into the moment
/// between the accept of a connection and the arrival of its first byte.
const CALM_LOOKS: u32 = 3;
/// So long without a waiting connection, where the others cannot be seen.
const BLIND_CALM: Duration = Duration::from_secs(5);

/// A drain under way. It began with a look.
#[derive(Debug)]
pub(super) struct Drain {
    began: Time,
    /// Longer is not waited.
    pub(super) until: Time,
    /// `None`: a look is under way.
    next_look: Option<Time>,
    calm: Option<Calm>,
    /// What the last look saw.
    pub(super) seen: Option<Look>,
}

/// Looks in a row that saw nothing in need of the worker.
#[derive(Debug)]
struct Calm {
    since: Time,
    looks: u32,
}

impl Drain {
    pub(super) fn new(now: Time, within: Duration) -> Self {
        Self { began: now, until: now + within, next_look: None, calm: None, seen: None }
    }

    /// Takes a look's answer in. Whether the worker is drained.
    pub(super) fn looked(&mut self, look: Look, now: Time) -> bool {
        self.next_look = Some(now + LOOK_EVERY);
        self.seen = Some(look);
        let in_need = look.queued + look.handshaking + if look.visible { look.busy } else { 0 };
        if in_need > 0 {
            self.calm = None;
            return false;
        }
        let calm = self.calm.get_or_insert(Calm { since: now, looks: 0 });
        calm.looks += 1;
        if look.visible { calm.looks >= CALM_LOOKS } else { now.since(calm.since) >= BLIND_CALM }
    }

    /// Whether to look now.
    pub(super) fn look_is_due(&mut self, now: Time) -> bool {
        self.next_look.take_if(|at| *at <= now).is_some()
    }

    pub(super) fn deadline(&self) -> Time {
        self.next_look.map_or(self.until, |at| at.min(self.until))
    }

    /// What is lost by not waiting any longer.
    pub(super) fn cut_short(&self, now: Time) -> String {
        let after = words::span(now.since(self.began));
        match self.seen {
            None => format!("drain timeout after {after}: its connections could not be looked at"),
            Some(look) if look.visible => format!(
                "drain timeout after {after}: {} with a request in flight {} cut",
                words::count(look.busy, "connection"),
                if look.busy == 1 { "is" } else { "are" }
            ),
            Some(look) => format!(
                "drain timeout after {after}: its connections cannot be seen; {} in its queue",
                words::count(look.queued, "connection")
            ),
        }
    }
}
