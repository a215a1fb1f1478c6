//! One slot: its seat, the successor, the workers that are leaving, and what is remembered of it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::restart_policy::History;
use super::role::Role;
use crate::base::ids::{ListenerId, WorkerId};
use crate::base::time::Time;
use crate::primary::plan::Plan;
use crate::primary::recycle::state::RecycleLoop;

/// One slot.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::primary) struct SlotState {
    /// The plan of its next worker.
    pub(in crate::primary) plan: Plan,
    pub(in crate::primary) seat: Seat,
    /// The worker that will take the seat when the rollout says so.
    pub(in crate::primary) successor: Option<WorkerId>,
    /// Workers that had the seat and were told to go.
    pub(in crate::primary) retiring: BTreeSet<WorkerId>,
    /// A ready worker of the generation before, to which the primary can switch back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::primary) warm: Option<WorkerId>,
    pub(in crate::primary) rescue: Rescue,
    /// Where the slot's last ready worker listened of its own accord. `None`: no worker was ready.
    pub(in crate::primary) served: Option<BTreeSet<ListenerId>>,
    /// The listeners among `served` that this worker bound long after it was ready.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(in crate::primary) late: BTreeSet<ListenerId>,
    /// Where the next worker of the plan that the running rollout replaced must listen.
    pub(in crate::primary) served_before: Option<BTreeSet<ListenerId>>,
    pub(in crate::primary) history: History,
    pub(in crate::primary) restarts: u64,
    /// How many of its workers were replaced because they reached a limit.
    #[serde(default)]
    pub(in crate::primary) recycles: u64,
    #[serde(default, rename = "memory_loop")]
    pub(in crate::primary) own_loop: RecycleLoop,
    pub(in crate::primary) last_exit: Option<String>,
    /// Its last worker served nothing, and nobody expected it to: it did its work and left.
    #[serde(default)]
    pub(in crate::primary) done: bool,
    /// The slot is no longer wanted, and is forgotten when it has no worker left.
    pub(in crate::primary) leaving: bool,
    pub(in crate::primary) presence: Presence,
}

/// Whether the clients of a slot are served, where each client has its own slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::primary) enum Presence {
    Here,
    /// No worker is ready. The clients wait until this time.
    Missed {
        until: Time,
    },
    /// No worker is ready, and the clients do not wait for one.
    Away,
}

/// The seat of a slot: the worker that serves it, or why there is none.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::primary) enum Seat {
    /// There is no worker; the primary starts one at once.
    Empty,
    Held(WorkerId),
    /// There is no worker until this time: a backoff.
    Waiting {
        until: Time,
        reason: String,
    },
    /// The slot failed too often, or cannot have a worker.
    Errored {
        reason: String,
        last_lines: Vec<String>,
        /// When the primary tries again. `None`: not without a request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again: Option<Time>,
    },
    /// There is no worker, as it should be.
    Stopped {
        reason: String,
    },
}

/// The rescue of a slot: a worker that serves connections for which no other worker will come.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::primary) enum Rescue {
    None,
    Due { at: Time, tries: u32 },
    Live { worker: WorkerId, tries: u32 },
}

impl Seat {
    /// The worker that has it.
    pub(in crate::primary) fn holder(&self) -> Option<WorkerId> {
        match self {
            Self::Held(worker) => Some(*worker),
            Self::Empty | Self::Waiting { .. } | Self::Errored { .. } | Self::Stopped { .. } => {
                None
            }
        }
    }

    /// When the primary fills it by itself.
    pub(in crate::primary) fn due(&self) -> Option<Time> {
        match self {
            Self::Waiting { until, .. } => Some(*until),
            Self::Errored { again, .. } => *again,
            Self::Empty | Self::Held(_) | Self::Stopped { .. } => None,
        }
    }
}

impl SlotState {
    pub(in crate::primary) fn new(plan: Plan) -> Self {
        Self {
            plan,
            seat: Seat::Empty,
            successor: None,
            retiring: BTreeSet::new(),
            warm: None,
            rescue: Rescue::None,
            served: None,
            late: BTreeSet::new(),
            served_before: None,
            history: History::default(),
            restarts: 0,
            recycles: 0,
            own_loop: RecycleLoop::default(),
            last_exit: None,
            done: false,
            leaving: false,
            presence: Presence::Away,
        }
    }

    /// Begins anew with `plan`. Leaving workers go on leaving.
    pub(in crate::primary) fn begin_anew(&mut self, plan: Plan) {
        self.plan = plan;
        self.seat = Seat::Empty;
        self.served = None;
        self.late.clear();
        self.done = false;
        self.served_before = None;
        self.history = History::default();
        self.leaving = false;
    }

    /// The listeners that its last ready worker served from its start on.
    pub(in crate::primary) fn served_early(&self) -> Option<BTreeSet<ListenerId>> {
        let served = self.served.as_ref()?;
        Some(served.difference(&self.late).copied().collect())
    }

    pub(in crate::primary) fn role(&self, worker: WorkerId) -> Role {
        if self.seat == Seat::Held(worker) {
            Role::Seated
        } else if self.successor == Some(worker) {
            Role::Successor
        } else if matches!(self.rescue, Rescue::Live { worker: rescue, .. } if rescue == worker) {
            Role::Rescue
        } else if self.warm == Some(worker) {
            Role::Warm
        } else {
            Role::Retiring
        }
    }

    /// The slot is no longer wanted. Returns the worker that had the seat.
    pub(in crate::primary) fn vacate(&mut self) -> Option<WorkerId> {
        self.leaving = true;
        let stopped = Seat::Stopped { reason: "no longer wanted".to_owned() };
        std::mem::replace(&mut self.seat, stopped).holder()
    }

    /// All workers of the slot.
    pub(in crate::primary) fn members(&self) -> impl Iterator<Item = WorkerId> {
        let rescue = match self.rescue {
            Rescue::Live { worker, .. } => Some(worker),
            Rescue::None | Rescue::Due { .. } => None,
        };
        let retiring = self.retiring.iter().copied();
        let beside = self.successor.into_iter().chain(self.warm).chain(rescue);
        self.seat.holder().into_iter().chain(beside).chain(retiring)
    }

    /// There is no worker any more, because its work is done.
    pub(in crate::primary) fn is_done(&self) -> bool {
        self.done && matches!(self.seat, Seat::Stopped { .. })
    }

    /// A worker serves the slot, or will do so without another request.
    pub(in crate::primary) fn has_hope(&self) -> bool {
        match self.seat {
            Seat::Empty | Seat::Held(_) | Seat::Waiting { .. } => !self.leaving,
            Seat::Errored { .. } | Seat::Stopped { .. } => false,
        }
    }

    /// When the primary must act on the slot.
    pub(in crate::primary) fn deadlines(&self) -> impl Iterator<Item = Time> + use<> {
        let seat = self.seat.due();
        let rescue = match self.rescue {
            Rescue::Due { at, .. } => Some(at),
            Rescue::None | Rescue::Live { .. } => None,
        };
        let missed = match self.presence {
            Presence::Missed { until } => Some(until),
            Presence::Here | Presence::Away => None,
        };
        seat.into_iter().chain(rescue).chain(missed)
    }

    /// The slot has no worker.
    pub(in crate::primary) fn is_deserted(&self) -> bool {
        self.successor.is_none()
            && self.warm.is_none()
            && self.retiring.is_empty()
            && self.rescue == Rescue::None
            && !matches!(self.seat, Seat::Held(_))
    }
}
