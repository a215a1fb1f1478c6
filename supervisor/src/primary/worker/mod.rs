//! What is known about one worker, and when that makes it ready. Its states are in `life`.

pub(super) mod deaths;
pub(super) mod drain;
pub(super) mod early;
pub(super) mod end;
pub(super) mod hang;
pub(super) mod leave;
mod life;
pub(super) mod state;

use std::collections::BTreeSet;

use config::spec::ReadyRule;
use serde::{Deserialize, Serialize};

use self::end::End;
use self::hang::Watch;
use self::state::{Change, State};
use super::event::Notification;
use super::plan::Plan;
use crate::base::ids::{ListenerId, Slot, SocketId, WorkerId};
use crate::base::time::Time;

/// One live worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) slot: Slot,
    pub(super) plan: Plan,
    pub(super) state: State,
    /// When it was asked for.
    pub(super) started: Time,
    /// When it became ready, if ever.
    pub(super) ready_since: Option<Time>,
    /// What it must listen on to be ready: what its predecessor served. `None`: it has none.
    pub(super) required: Option<BTreeSet<ListenerId>>,
    /// The configured listeners that it inherited. They count as listening from the beginning.
    pub(super) lent: BTreeSet<ListenerId>,
    /// The listeners that it listens on by its own doing.
    pub(super) bound: BTreeSet<ListenerId>,
    /// It has the socket of a shared listener: nobody can be steered away from it.
    pub(super) shares: bool,
    /// While it is ready, where hung workers are looked for.
    pub(super) watch: Option<Watch>,
    /// Connections with a request in flight when its drain timed out.
    pub(super) cut: u32,
    /// When it was taken back while it drained.
    #[serde(default)]
    pub(super) recalled: Option<Time>,
    /// Whether the last worker of its pool that was told to stop while it was busy finished first.
    #[serde(default)]
    pub(super) finishes: Option<bool>,
    /// Whether it did so itself, once that is known.
    #[serde(default)]
    pub(super) finished: Option<bool>,
    /// It said that it leaves of its own accord.
    pub(super) leaves: bool,
    /// It said READY=1.
    pub(super) said_ready: bool,
    /// It spoke on NOTIFY_SOCKET at all.
    pub(super) notifies: bool,
    /// It said STOPPING=1.
    pub(super) says_stopping: bool,
    /// Its last STATUS=.
    pub(super) status_text: Option<String>,
    /// The last address that it asked for in vain, and why.
    pub(super) refused: Option<String>,
}

impl Worker {
    /// The time from which it counts as ready if nothing else happens; `since`: its program runs.
    pub(super) fn ready_at(&self, since: Time) -> Option<Time> {
        let times = &self.plan.spec.times;
        let lived = since + times.min_uptime;
        match self.plan.spec.ready {
            ReadyRule::Notify => self.said_ready.then_some(since),
            ReadyRule::Uptime => Some(lived),
            ReadyRule::Auto if self.said_ready => Some(since),
            ReadyRule::Auto | ReadyRule::Listen if self.missing().next().is_some() => None,
            ReadyRule::Auto | ReadyRule::Listen if !self.bound.is_empty() => Some(since),
            ReadyRule::Auto | ReadyRule::Listen if !self.lent.is_empty() => Some(lived),
            ReadyRule::Auto if self.required.is_some() => Some(lived),
            ReadyRule::Auto => Some(since + times.listen_wait),
            ReadyRule::Listen => None,
        }
    }

    /// What its predecessor served and it does not.
    pub(super) fn missing(&self) -> impl Iterator<Item = ListenerId> {
        self.required.iter().flatten().copied().filter(|listener| !self.serves(*listener))
    }

    /// Whether it listens there, or inherited the socket.
    pub(super) fn serves(&self, listener: ListenerId) -> bool {
        self.bound.contains(&listener) || self.lent.contains(&listener)
    }

    /// The listener is closed.
    pub(super) fn forget(&mut self, listener: ListenerId) {
        self.bound.remove(&listener);
        self.lent.remove(&listener);
        if let Some(required) = &mut self.required {
            required.remove(&listener);
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready)
    }

    /// Spawning or starting: its readiness is still open.
    pub(super) fn is_coming(&self) -> bool {
        matches!(self.state, State::Spawning { doomed: false } | State::Starting { .. })
    }

    /// Told to stop or killed, and not gone yet.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.state, State::Killing { .. })
    }

    pub(super) fn listens(&mut self, listener: ListenerId, socket: SocketId) -> Change {
        self.bound.insert(listener);
        Change::Listens { listener, socket }
    }

    pub(super) fn leaves(&mut self) -> Change {
        self.leaves = true;
        Change::Nothing
    }

    /// Whether its end was no failure: it said that it leaves, had served for a while, and ended
    /// well.
    pub(super) fn left_well(&self, end: &End, now: Time) -> bool {
        let served = self.ready_since.map(|since| now.since(since));
        self.leaves && end.is_clean() && served >= Some(self.plan.spec.times.min_uptime)
    }

    /// Remembers what it said.
    pub(super) fn notes(&mut self, notification: Notification) -> Change {
        self.notifies = true;
        match notification {
            Notification::Ready => self.said_ready = true,
            Notification::Stopping => self.says_stopping = true,
            Notification::Status(text) => self.status_text = Some(text),
            Notification::Watchdog | Notification::WatchdogTrigger | Notification::Extend(_) => {}
        }
        Change::Nothing
    }
}
