//! What the core knows about one worker, and when the worker is ready. Its states are in `life`.

pub(super) mod deaths;
pub(super) mod drain;
pub(super) mod early;
pub(super) mod end;
pub(super) mod hang;
pub(super) mod health;
pub(super) mod leave;
mod life;
pub(crate) mod limits;
pub(super) mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use config::spec::{AddressPattern, ReadyRule};
use serde::{Deserialize, Serialize};

use self::end::End;
use self::hang::Watch;
use self::health::Health;
use self::limits::{Excess, Limits};
use self::state::{Change, State};
use super::event::{Notification, ProbeKind, ProbeResult, Used};
use super::plan::Plan;
use crate::base::ids::{ListenerId, Slot, SocketId, WorkerId};
use crate::base::own_sockets::OwnSockets;
use crate::base::time::Time;

/// The least time that a program has to listen on its further addresses.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// The most unix sockets of its own that are remembered of a worker.
const MOST_PATHS: usize = 32;

/// One live worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) slot: Slot,
    pub(super) plan: Plan,
    pub(super) state: State,
    /// Its `pre_start` runs as this process, and its program starts afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) prepares: Option<WorkerId>,
    /// Its `pre_stop` was started, so it is no longer what it was to others.
    #[serde(default)]
    pub(super) took_leave: bool,
    /// When the core ordered the start of its program.
    pub(super) started: Time,
    /// When it became ready. `None`: it was never ready.
    pub(super) ready_since: Option<Time>,
    /// The listeners that it must serve to be ready: those of its predecessor. `None`: it has no
    /// predecessor.
    pub(super) required: Option<BTreeSet<ListenerId>>,
    /// The configured listeners that it inherited. They count as listening from the start.
    pub(super) lent: BTreeSet<ListenerId>,
    /// The listeners on which it listens of its own accord.
    pub(super) bound: BTreeSet<ListenerId>,
    /// The listeners among `bound` whose socket it closed and has not opened again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) closed: BTreeSet<ListenerId>,
    /// The listeners among `bound` that it bound long after it was ready.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) late: BTreeSet<ListenerId>,
    /// The addresses of `serve` on which it does not listen yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) awaited: Vec<AddressPattern>,
    /// Sockets that it got for a `bind`, that listened already, and on which it has not called
    /// `listen`; and when it got each. A program that asks the kernel (SO_ACCEPTCONN) never calls.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) already_open: BTreeMap<ListenerId, (SocketId, Time)>,
    /// The unix sockets that it made itself and listened on.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) unix_paths: BTreeSet<String>,
    /// Where it listens with TCP sockets of its own.
    #[serde(default, skip_serializing_if = "OwnSockets::is_empty")]
    pub(super) own: OwnSockets,
    /// It has the socket of a shared listener, so new connections cannot be steered away from it.
    pub(super) shares: bool,
    /// The watch for hangs, while the worker is ready.
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
    /// Whether the end of that last worker of its pool proved that it cut nothing.
    #[serde(default)]
    pub(super) is_proven: bool,
    /// Whether its own end did.
    #[serde(default)]
    pub(super) proved: bool,
    /// Its command listened on nothing when it ran last.
    #[serde(default)]
    pub(super) is_quiet: bool,
    /// It announced that it leaves of its own accord.
    pub(super) leaves: bool,
    /// It sent READY=1.
    pub(super) said_ready: bool,
    /// It has used NOTIFY_SOCKET.
    pub(super) notifies: bool,
    /// It sent STOPPING=1.
    pub(super) says_stopping: bool,
    /// Its last STATUS=.
    pub(super) status_text: Option<String>,
    /// The last address that it could not have, and the reason.
    pub(super) refused: Option<String>,
    /// What it may use before it is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) limits: Option<Limits>,
    /// The limit of memory or connections that it had reached when it was last measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) excess: Option<Excess>,
    /// It is being replaced, or was, because it reached this limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) recycled: Option<Excess>,
    /// What its probes say.
    #[serde(default)]
    pub(super) readiness: Health,
    #[serde(default)]
    pub(super) liveness: Health,
    /// It gets no new connections, because its readiness fails and others serve.
    #[serde(default)]
    pub(super) withdrawn: bool,
    /// The kernel killed a process of it because memory ran out.
    #[serde(default)]
    pub(super) out_of_memory: bool,
}

impl Worker {
    /// When it counts as ready if nothing else happens; `since`: when its program began to run.
    /// Every condition that applies must hold: no word of the program stands for an address.
    pub(super) fn ready_at(&self, since: Time) -> Option<Time> {
        let held_back = self.readiness.holds_back(&self.plan.spec.readiness);
        if self.missing().next().is_some() || !self.awaited.is_empty() || held_back {
            return None;
        }
        let times = &self.plan.spec.times;
        let lived = since + times.min_uptime;
        match self.plan.spec.ready {
            ReadyRule::Notify => self.said_ready.then_some(since),
            ReadyRule::Uptime => Some(lived),
            ReadyRule::Auto | ReadyRule::Listen if !self.bound.is_empty() => Some(since),
            // Nobody could tell when it began to listen, but it does.
            ReadyRule::Auto | ReadyRule::Listen if !self.own.unseen.is_empty() => Some(since),
            ReadyRule::Auto | ReadyRule::Listen if !self.already_open.is_empty() => None,
            ReadyRule::Auto if self.said_ready => Some(since),
            ReadyRule::Auto | ReadyRule::Listen if !self.lent.is_empty() => Some(lived),
            ReadyRule::Auto if self.required.is_some() || self.is_quiet => Some(lived),
            ReadyRule::Auto => Some(since + times.listen_wait),
            ReadyRule::Listen => None,
        }
    }

    /// When a socket that listened already counts as one on which it listens: once it says that it
    /// is ready, or has held the socket for `min_uptime`.
    fn counts_at(&self, got: Time) -> Time {
        if self.said_ready { got } else { got + self.plan.spec.times.min_uptime }
    }

    /// When the next of them counts.
    pub(super) fn next_counts_at(&self) -> Option<Time> {
        self.already_open.values().map(|(_, got)| self.counts_at(*got)).min()
    }

    /// Takes one of them that counts now.
    pub(super) fn take_counted(&mut self, now: Time) -> Option<(ListenerId, SocketId)> {
        let counts = |(_, (_, got)): &(&ListenerId, &(SocketId, Time))| self.counts_at(*got) <= now;
        let (listener, _) = self.already_open.iter().find(counts)?;
        let listener = *listener;
        let (socket, _) = self.already_open.remove(&listener)?;
        Some((listener, socket))
    }

    /// The listeners that its predecessor served and it does not.
    pub(super) fn missing(&self) -> impl Iterator<Item = ListenerId> {
        self.required.iter().flatten().copied().filter(|listener| !self.listens_on(*listener))
    }

    /// Whether it listens there now, or inherited the socket.
    fn listens_on(&self, listener: ListenerId) -> bool {
        self.serves(listener) && !self.closed.contains(&listener)
    }

    /// Where it listens of its own accord, now.
    pub(super) fn listens_now(&self) -> BTreeSet<ListenerId> {
        self.bound.difference(&self.closed).copied().collect()
    }

    /// Whether it listens there, or inherited the socket.
    pub(super) fn serves(&self, listener: ListenerId) -> bool {
        self.bound.contains(&listener) || self.lent.contains(&listener)
    }

    /// Whether it has closed a listener that it opened long after its start, such as the port of a
    /// transfer. Such a listener need not be kept open for it.
    pub(super) fn has_given_up(&self, listener: ListenerId) -> bool {
        self.closed.contains(&listener) && self.late.contains(&listener)
    }

    /// Forgets a listener that was closed.
    pub(super) fn forget(&mut self, listener: ListenerId) {
        self.bound.remove(&listener);
        self.already_open.remove(&listener);
        self.closed.remove(&listener);
        self.late.remove(&listener);
        self.lent.remove(&listener);
        if let Some(required) = &mut self.required {
            required.remove(&listener);
        }
    }

    /// Whether it serves something, or was expected to: it is no job that ends when it is done.
    pub(super) fn is_server(&self) -> bool {
        let expected = match self.plan.spec.ready {
            ReadyRule::Listen | ReadyRule::Notify => true,
            ReadyRule::Auto | ReadyRule::Uptime => false,
        };
        let required = self.required.as_ref().is_some_and(|required| !required.is_empty());
        let waits = required || !self.awaited.is_empty();
        let serves = !self.bound.is_empty() || !self.lent.is_empty() || !self.own.is_empty();
        expected || waits || serves
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready)
    }

    /// Its program runs, and it is not ready yet.
    pub(super) fn is_starting(&self) -> bool {
        matches!(self.state, State::Starting { .. })
    }

    /// Spawning or starting: whether it becomes ready is still open.
    pub(super) fn is_coming(&self) -> bool {
        matches!(self.state, State::Spawning { doomed: false } | State::Starting { .. })
    }

    /// The primary told it to stop or killed it, and it is not gone yet.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.state, State::Killing { .. })
    }

    pub(super) fn listens(&mut self, listener: ListenerId, socket: SocketId, now: Time) -> Change {
        let times = &self.plan.spec.times;
        let settled = self.ready_since.map(|since| since + times.listen_wait.max(SOON));
        if self.bound.insert(listener) && settled.is_some_and(|at| at <= now) {
            self.late.insert(listener);
        }
        self.closed.remove(&listener);
        self.already_open.remove(&listener);
        Change::Listens { listener, socket }
    }

    /// Notes a unix socket of its own.
    pub(super) fn listens_on_unix(&mut self, path: String) -> Change {
        if self.unix_paths.len() < MOST_PATHS {
            self.unix_paths.insert(path);
        }
        Change::Nothing
    }

    /// It is ready, and listens on unix sockets of its own and on nothing else.
    pub(super) fn serves_own_unix(&self) -> bool {
        let nothing_else =
            self.bound.is_empty() && self.lent.is_empty() && self.own.unseen.is_empty();
        self.is_ready() && nothing_else && !self.unix_paths.is_empty()
    }

    pub(super) fn closes(&mut self, listener: ListenerId, socket: SocketId) -> Change {
        if self.bound.contains(&listener) {
            self.closed.insert(listener);
        }
        Change::Closes { listener, socket }
    }

    pub(super) fn leaves(&mut self) -> Change {
        self.leaves = true;
        Change::Nothing
    }

    /// Whether its end was no failure: it announced that it leaves, had served for a while, and
    /// ended cleanly.
    pub(super) fn left_well(&self, end: &End, now: Time) -> bool {
        let served = self.ready_since.map(|since| now.since(since));
        self.leaves && end.is_clean() && served >= Some(self.plan.spec.times.min_uptime)
    }

    /// Notes what it uses.
    pub(super) fn uses(&mut self, used: Used) -> Change {
        let starts = self.ready_since.map_or(Duration::ZERO, |since| since.since(self.started));
        self.excess = self.limits.and_then(|limits| limits.reached(used, starts));
        Change::Nothing
    }

    /// When it is too old, if it is ready.
    pub(super) fn old_at(&self) -> Option<Time> {
        self.limits?.old_at(self.ready_since.filter(|_| self.is_ready())?)
    }

    /// Takes the result of a probe in.
    pub(super) fn probed(&mut self, probe: ProbeKind, result: ProbeResult) {
        let spec = &self.plan.spec;
        match probe {
            ProbeKind::Readiness => self.readiness.take(result, &spec.readiness),
            ProbeKind::Liveness => self.liveness.take(result, &spec.liveness),
        };
    }

    /// The limit that it has reached, if it is ready.
    pub(super) fn excess(&self, now: Time) -> Option<Excess> {
        let old = self.old_at().filter(|at| *at <= now);
        let limit = old.and_then(|_| self.limits?.age);
        let failures = self.liveness.failures;
        let dead = self.liveness.fails().then_some(Excess::Liveness { failures });
        let own = dead.or(self.excess).filter(|_| self.is_ready());
        own.or_else(|| limit.map(|limit| Excess::Age { limit }))
    }

    /// Notes that the kernel killed a process of it because memory ran out.
    pub(super) fn ran_out_of_memory(&mut self) -> Change {
        self.out_of_memory = true;
        Change::Nothing
    }

    /// Notes a message of the worker.
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
