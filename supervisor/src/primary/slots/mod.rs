//! The slots: the worker that serves each, its successor, and the workers that are leaving.

mod pool_plans;
pub(super) mod pools;
pub(super) mod rescue;
pub(super) mod restart_policy;
pub(super) mod role;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use self::pools::{OWN, Pools};
use self::restart_policy::History;
use self::role::Role;
use super::action::Action;
use super::sockets::Borrower;
use super::worker::Worker;
use super::worker::state::State;
use super::{Job, Phase, Primary, Step};
use crate::base::ids::{ListenerId, Slot, SocketId, WorkerId};
use crate::base::time::Time;
use crate::primary::plan::Plan;

/// One slot.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SlotState {
    /// The plan of its next worker.
    pub(super) plan: Plan,
    pub(super) seat: Seat,
    /// The worker that will take the seat when the rollout says so.
    pub(super) successor: Option<WorkerId>,
    /// Workers that had the seat and were told to go.
    pub(super) retiring: BTreeSet<WorkerId>,
    pub(super) rescue: Rescue,
    /// Where the slot's last ready worker listened of its own accord. `None`: no worker was ready.
    pub(super) served: Option<BTreeSet<ListenerId>>,
    /// The same for the worker that the running rollout replaced.
    pub(super) served_before: Option<BTreeSet<ListenerId>>,
    pub(super) history: History,
    pub(super) restarts: u64,
    pub(super) last_exit: Option<String>,
    /// The slot is no longer wanted, and is forgotten when it has no worker left.
    pub(super) leaving: bool,
    pub(super) presence: Presence,
}

/// Whether the clients of a slot are served, where each client has its own slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Presence {
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
pub(super) enum Seat {
    /// There is no worker; the primary starts one at once.
    Empty,
    Held(WorkerId),
    /// There is no worker until this time: a backoff.
    Waiting {
        until: Time,
        reason: String,
    },
    /// The primary gave the slot up.
    Errored {
        reason: String,
        last_lines: Vec<String>,
    },
    /// There is no worker, as it should be.
    Stopped {
        reason: String,
    },
}

/// The rescue of a slot: a worker that serves connections for which no other worker will come.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Rescue {
    None,
    Due { at: Time, tries: u32 },
    Live { worker: WorkerId, tries: u32 },
}

impl SlotState {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            plan,
            seat: Seat::Empty,
            successor: None,
            retiring: BTreeSet::new(),
            rescue: Rescue::None,
            served: None,
            served_before: None,
            history: History::default(),
            restarts: 0,
            last_exit: None,
            leaving: false,
            presence: Presence::Away,
        }
    }

    /// Begins anew with `plan`. Leaving workers go on leaving.
    pub(super) fn begin_anew(&mut self, plan: Plan) {
        self.plan = plan;
        self.seat = Seat::Empty;
        self.served = None;
        self.served_before = None;
        self.history = History::default();
        self.leaving = false;
    }

    pub(super) fn role(&self, worker: WorkerId) -> Role {
        if self.seat == Seat::Held(worker) {
            Role::Seated
        } else if self.successor == Some(worker) {
            Role::Successor
        } else if matches!(self.rescue, Rescue::Live { worker: rescue, .. } if rescue == worker) {
            Role::Rescue
        } else {
            Role::Retiring
        }
    }

    /// All workers of the slot.
    pub(super) fn members(&self) -> impl Iterator<Item = WorkerId> {
        let seated = match self.seat {
            Seat::Held(worker) => Some(worker),
            Seat::Empty | Seat::Waiting { .. } | Seat::Errored { .. } | Seat::Stopped { .. } => {
                None
            }
        };
        let rescue = match self.rescue {
            Rescue::Live { worker, .. } => Some(worker),
            Rescue::None | Rescue::Due { .. } => None,
        };
        let retiring = self.retiring.iter().copied();
        seated.into_iter().chain(self.successor).chain(rescue).chain(retiring)
    }

    /// A worker serves the slot, or will do so without another request.
    pub(super) fn has_hope(&self) -> bool {
        match self.seat {
            Seat::Empty | Seat::Held(_) | Seat::Waiting { .. } => !self.leaving,
            Seat::Errored { .. } | Seat::Stopped { .. } => false,
        }
    }

    /// When the primary must act on the slot.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Time> + use<> {
        let seat = match self.seat {
            Seat::Waiting { until, .. } => Some(until),
            Seat::Empty | Seat::Held(_) | Seat::Errored { .. } | Seat::Stopped { .. } => None,
        };
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
    fn is_deserted(&self) -> bool {
        self.successor.is_none()
            && self.retiring.is_empty()
            && self.rescue == Rescue::None
            && !matches!(self.seat, Seat::Held(_))
    }
}

impl Primary {
    /// The state of a slot that has a worker, or that was just listed. A slot outlives its workers.
    pub(super) fn slot(&mut self, slot: Slot) -> &mut SlotState {
        self.slots.get_mut(&slot).expect("a slot outlives its workers")
    }

    /// The wanted slots.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (Slot, &SlotState)> {
        self.slots.iter().filter(|(_, state)| !state.leaving).map(|(slot, state)| (*slot, state))
    }

    /// The worker in the slot's seat.
    pub(super) fn seated(&self, state: &SlotState) -> Option<&Worker> {
        match state.seat {
            Seat::Held(worker) => self.workers.get(&worker),
            Seat::Empty | Seat::Waiting { .. } | Seat::Errored { .. } | Seat::Stopped { .. } => {
                None
            }
        }
    }

    pub(super) fn is_ready(&self, state: &SlotState) -> bool {
        self.seated(state).is_some_and(Worker::is_ready)
    }

    /// How many wanted slots have a ready worker.
    pub(super) fn ready_count(&self) -> usize {
        self.wanted().filter(|(_, state)| self.is_ready(state)).count()
    }

    /// Makes sure that the slots of `planned` exist and are wanted.
    pub(super) fn add_slots(&mut self, planned: &Pools) {
        for (slot, plan) in planned.slots() {
            let new = || SlotState::new(plan.clone());
            let state = self.slots.entry(slot).or_insert_with(new);
            if state.leaving {
                state.begin_anew(plan.clone());
            }
        }
    }

    /// Dismisses the workers of all slots that `planned` does not want. Returns whether there are
    /// any.
    pub(super) fn dismiss(&mut self, planned: &Pools, step: &mut Step<'_>) -> bool {
        let mut dismissed = false;
        let mut leavers = Vec::new();
        let unwanted = |(slot, s): &(&Slot, &mut SlotState)| !s.leaving && !planned.wants(**slot);
        for (_, state) in self.slots.iter_mut().filter(unwanted) {
            dismissed = true;
            state.leaving = true;
            let stopped = Seat::Stopped { reason: "no longer wanted".to_owned() };
            if let Seat::Held(worker) = std::mem::replace(&mut state.seat, stopped) {
                state.retiring.insert(worker);
                leavers.push(worker);
            }
        }
        self.steer(step);
        for worker in leavers {
            self.retire(worker, step);
        }
        dismissed
    }

    /// Whether a worker that had a seat is still leaving.
    pub(super) fn anyone_retires(&self) -> bool {
        self.slots.values().any(|state| !state.retiring.is_empty())
    }

    /// Forgets the slots that are not wanted and have no worker left.
    pub(super) fn forget_deserted(&mut self) {
        let Self { slots, sockets, .. } = self;
        slots.retain(|slot, state| {
            !state.leaving || !state.is_deserted() || sockets.kept_for(*slot).next().is_some()
        });
    }

    /// Ends the backoffs that are over.
    pub(super) fn end_waits(&mut self, now: Time) {
        for state in self.slots.values_mut() {
            if matches!(state.seat, Seat::Waiting { until, .. } if until <= now) {
                state.seat = Seat::Empty;
            }
        }
    }

    /// Starts a worker in every empty seat.
    pub(super) fn fill(&mut self, step: &mut Step<'_>) {
        if !matches!(self.phase, Phase::Running) || self.job.as_ref().is_some_and(Job::empties) {
            return;
        }
        let empty: Vec<Slot> = self
            .wanted()
            .filter(|(_, state)| state.seat == Seat::Empty && self.may_start(state))
            .map(|(slot, _)| slot)
            .collect();
        for slot in empty {
            let plan = self.slot(slot).plan.clone();
            let required = self.slot(slot).served.clone();
            let worker = self.spawn(slot, plan, required, step);
            self.slot(slot).seat = Seat::Held(worker);
        }
    }

    /// Each slot has at most one worker per generation: a leaving worker of the same generation
    /// must be gone first.
    fn may_start(&self, state: &SlotState) -> bool {
        let same = |id| {
            let worker: Option<&Worker> = self.workers.get(id);
            worker.is_some_and(|worker| worker.plan.generation == state.plan.generation)
        };
        !state.retiring.iter().any(same)
    }

    /// Starts a worker, without a role yet.
    pub(super) fn spawn(
        &mut self,
        slot: Slot,
        plan: Plan,
        required: Option<BTreeSet<ListenerId>>,
        step: &mut Step<'_>,
    ) -> WorkerId {
        let id = WorkerId(self.next_worker);
        self.next_worker += 1;
        // A configuration that drops an address does not want it served.
        let is_wanted = |listener: &ListenerId| !self.sockets.is_dropped_by(&plan, *listener);
        let required = required.map(|all| all.into_iter().filter(is_wanted).collect());
        let lend = self.lend_configured(id, slot, &plan);
        let worker = Worker {
            id,
            slot,
            plan: plan.clone(),
            state: State::Spawning { doomed: false },
            started: step.now,
            ready_since: None,
            required,
            lent: lend.iter().map(|(listener, _)| *listener).collect(),
            bound: BTreeSet::new(),
            already_open: BTreeMap::new(),
            shares: lend.iter().any(|(listener, _)| self.sockets.is_shared(*listener)),
            watch: None,
            cut: 0,
            recalled: None,
            finishes: None,
            finished: None,
            leaves: false,
            said_ready: false,
            notifies: false,
            says_stopping: false,
            status_text: None,
            refused: None,
        };
        self.workers.insert(id, worker);
        let Plan { generation, spec, .. } = plan;
        let workers = spec.wanted;
        step.act(Action::Spawn { worker: id, slot, generation, spec, workers, lend });
        id
    }

    fn lend_configured(
        &mut self,
        worker: WorkerId,
        slot: Slot,
        plan: &Plan,
    ) -> Vec<(ListenerId, SocketId)> {
        let borrower = Borrower { worker, slot, inherits: true };
        let mut lent = Vec::new();
        // Only the app's own pool inherits the configured listeners.
        let configured = plan.spec.listen.iter().filter(|_| slot.pool_index() == OWN);
        for configured in configured {
            let Some(listener) = self.sockets.find(&configured.address.to_string()) else {
                continue;
            };
            let socket = self.sockets.lend(listener, borrower, false, plan.generation);
            let Some(socket) = socket else { continue };
            self.sockets.listening(listener, socket, worker);
            lent.push((listener, socket));
        }
        lent
    }
}
