//! When a worker that gets no new connections holds none any more. The core judges by what the
//! kernel shows, never by what the worker says.
//!
//! A worker that shares its listening socket with others accepts connections until it stops. It is
//! *frozen* (SIGSTOP) for each look. If it then holds nothing in flight, it gets its stop signal
//! while it is frozen, so that a program without a handler accepts nothing more. Otherwise it goes
//! on (SIGCONT) and is frozen again a little later. No worker is frozen for long, even if the look
//! gets no answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::early::Early;

use crate::base::time::Time;
use crate::primary::event::Look;
use crate::primary::text;

/// From the answer to one look to the next look.
const LOOK_EVERY: Duration = Duration::from_millis(15);
/// After this many calm looks in a row, the worker is drained. One look alone may fall into the
/// moment between the accept of a connection and the arrival of its first byte.
const CALM_LOOKS: u32 = 3;
/// How long no connection may have waited, where the kernel does not show the others.
const BLIND_CALM: Duration = Duration::from_secs(5);
/// From SIGSTOP to the look, and to another one while a thread of the worker still runs.
const FREEZES_WITHIN: Duration = Duration::from_millis(1);
/// From SIGSTOP to SIGCONT at the latest: a busy machine needs a while to stop every thread.
const FROZEN_AT_MOST: Duration = Duration::from_millis(25);
/// The longest random time between two freezes, so that they do not keep step with the worker.
const JITTER: u64 = 7_000_000;

/// A drain under way. It began with a look.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::primary) struct Drain {
    began: Time,
    /// The drain ends at this time at the latest.
    pub(in crate::primary) until: Time,
    /// `None`: a look is under way.
    next_look: Option<Time>,
    calm: Option<Calm>,
    /// Since then nothing waits for it any more and some of its connections are busy.
    #[serde(default)]
    busy_since: Option<Time>,
    /// When it got its stop signal, though its connections were busy.
    #[serde(default)]
    pub(in crate::primary) told: Option<Time>,
    /// What was decided about an early stop signal, and why.
    #[serde(default)]
    pub(in crate::primary) decided: Option<Early>,
    /// What the last look saw.
    pub(in crate::primary) seen: Option<Look>,
    freeze: Freeze,
    /// It waits for a hook, until this time at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<Time>,
}

/// Whether the worker is frozen for a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Freeze {
    /// Never: it is steered away from.
    No,
    Thawed,
    /// It goes on then at the latest.
    Frozen {
        until: Time,
    },
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::primary) enum Next {
    Wait,
    Look,
    Freeze,
    Thaw,
    /// It is drained.
    Stop,
}

/// Looks in a row that saw nothing in need of the worker.
#[derive(Debug, Serialize, Deserialize)]
struct Calm {
    since: Time,
    looks: u32,
}

impl Drain {
    /// The drain of a worker that is steered away from; a look is under way.
    pub(in crate::primary) fn new(now: Time, within: Duration) -> Self {
        Self::begin(now, within, None, Freeze::No)
    }

    /// The drain of a worker that shares its socket; the first freeze is due.
    pub(in crate::primary) fn of_sharer(now: Time, within: Duration) -> Self {
        Self::begin(now, within, Some(now), Freeze::Thawed)
    }

    fn begin(now: Time, within: Duration, next_look: Option<Time>, freeze: Freeze) -> Self {
        Self {
            began: now,
            until: now + within,
            next_look,
            calm: None,
            busy_since: None,
            told: None,
            decided: None,
            seen: None,
            freeze,
            held: None,
        }
    }

    /// The drain of a worker whose hook runs first, until `limit` at the latest.
    pub(in crate::primary) fn held(now: Time, within: Duration, limit: Time, shares: bool) -> Self {
        let freeze = if shares { Freeze::Thawed } else { Freeze::No };
        Self { held: Some(limit), ..Self::begin(now, within, None, freeze) }
    }

    pub(in crate::primary) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// When it waits no longer for its hook.
    pub(in crate::primary) fn held_until(&self) -> Option<Time> {
        self.held
    }

    /// The hook is over: the drain begins, and has its full time.
    pub(in crate::primary) fn release(&mut self, now: Time) {
        if self.held.take().is_some() {
            self.until = now + self.until.since(self.began);
            self.began = now;
            self.next_look = Some(now);
        }
    }

    pub(in crate::primary) fn is_frozen(&self) -> bool {
        matches!(self.freeze, Freeze::Frozen { .. })
    }

    /// Takes a look's answer in.
    pub(in crate::primary) fn looked(&mut self, look: Look, now: Time) -> Next {
        self.seen = Some(look);
        let only_busy = look.visible && look.busy > 0 && look.queued + look.handshaking == 0;
        self.busy_since = only_busy.then(|| self.busy_since.unwrap_or(now));
        let freeze = self.freeze;
        match freeze {
            Freeze::No => {
                self.next_look = Some(now + LOOK_EVERY);
                if self.is_drained(look, now) { Next::Stop } else { Next::Wait }
            }
            // It came too late: the worker has gone on since.
            Freeze::Thawed => {
                self.next_look = Some(next_freeze(now));
                Next::Wait
            }
            // Where no connection is visible, the look need not wait until the worker stands still.
            Freeze::Frozen { .. } if look.visible && !look.still => {
                self.next_look = Some(now + FREEZES_WITHIN);
                Next::Wait
            }
            Freeze::Frozen { .. } if self.is_drained(look, now) => Next::Stop,
            Freeze::Frozen { .. } => {
                self.next_look = Some(next_freeze(now));
                self.freeze = Freeze::Thawed;
                Next::Thaw
            }
        }
    }

    /// Resumes after a restore: the look that was under way gets no answer any more. The worker is
    /// not frozen, or goes on at once. It has at least `least` left.
    pub(in crate::primary) fn resume(&mut self, now: Time, least: Duration) {
        if let Some(held) = &mut self.held {
            *held = (*held).max(now + least);
            return;
        }
        self.until = self.until.max(now + least);
        self.calm = None;
        self.busy_since = None;
        match self.freeze {
            Freeze::No => self.next_look = Some(now),
            Freeze::Thawed | Freeze::Frozen { .. } => {
                self.freeze = Freeze::Thawed;
                self.next_look = Some(next_freeze(now));
            }
        }
    }

    fn is_drained(&mut self, look: Look, now: Time) -> bool {
        let in_need = look.queued + look.handshaking + if look.visible { look.busy } else { 0 };
        if in_need > 0 {
            self.calm = None;
            return false;
        }
        let frozen = self.is_frozen();
        let calm = self.calm.get_or_insert(Calm { since: now, looks: 0 });
        calm.looks += 1;
        if look.visible && frozen {
            // Nothing can move unseen during this look.
            true
        } else if look.visible {
            calm.looks >= CALM_LOOKS
        } else {
            now.since(calm.since) >= BLIND_CALM
        }
    }

    /// What is due now.
    pub(in crate::primary) fn due(&mut self, now: Time) -> Next {
        if let Freeze::Frozen { until } = self.freeze
            && until <= now
        {
            // Where a look is under way, its answer says when the next freeze is.
            self.next_look = self.next_look.map(|_| next_freeze(now));
            self.freeze = Freeze::Thawed;
            return Next::Thaw;
        }
        if self.next_look.take_if(|at| *at <= now).is_none() {
            return Next::Wait;
        }
        match self.freeze {
            Freeze::No | Freeze::Frozen { .. } => Next::Look,
            Freeze::Thawed => {
                self.freeze = Freeze::Frozen { until: now + FROZEN_AT_MOST };
                self.next_look = Some(now + FREEZES_WITHIN);
                Next::Freeze
            }
        }
    }

    pub(in crate::primary) fn deadline(&self) -> Time {
        if let Some(held) = self.held {
            return held;
        }
        let thaw = match self.freeze {
            Freeze::Frozen { until } => Some(until),
            Freeze::No | Freeze::Thawed => None,
        };
        self.next_look.into_iter().chain(thaw).fold(self.until, Time::min)
    }

    /// Whether nothing waits for it any more, and its connections have been busy for so long. A
    /// worker that cannot be steered away from goes on getting connections.
    pub(super) fn stays_busy(&self, patience: Duration, now: Time) -> bool {
        let long = self.busy_since.is_some_and(|since| now.since(since) >= patience);
        long && self.freeze == Freeze::No
    }

    /// How many connections with a request in flight the last look saw.
    pub(in crate::primary) fn in_flight(&self) -> u32 {
        self.seen.filter(|look| look.visible).map_or(0, |look| look.busy)
    }

    /// How many quiet connections the last look saw.
    pub(in crate::primary) fn idle(&self) -> u32 {
        self.seen.filter(|look| look.visible).map_or(0, |look| look.idle)
    }

    /// What the worker loses because the drain ends now.
    pub(in crate::primary) fn cut_short(&self, now: Time) -> String {
        let after = text::span(now.since(self.began));
        match self.seen {
            None => format!("drain timeout after {after}: its connections could not be looked at"),
            Some(look) if look.visible => {
                let waiting = match look.queued {
                    0 => String::new(),
                    queued => format!("; {queued} in its queue are left to the next worker"),
                };
                format!(
                    "drain timeout after {after}: {} with a request in flight {} cut{waiting}",
                    text::count(look.busy, "connection"),
                    if look.busy == 1 { "is" } else { "are" }
                )
            }
            Some(look) => format!(
                "drain timeout after {after}: its connections cannot be seen; {} in its queue",
                text::count(look.queued, "connection")
            ),
        }
    }
}

fn next_freeze(now: Time) -> Time {
    now + LOOK_EVERY + Duration::from_nanos(now.0 % JITTER)
}
