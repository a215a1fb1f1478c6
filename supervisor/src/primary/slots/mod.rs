//! The slots: the worker that serves each, its successor, and the workers that are leaving.

mod pool_plans;
pub(super) mod pools;
pub(super) mod rescue;
pub(super) mod restart_policy;
pub(super) mod role;
pub(super) mod slot;

use std::collections::{BTreeMap, BTreeSet};

use config::spec::{AddressPattern, Balance};

use self::pools::{OWN, Pools};
use self::slot::{Presence, Seat, SlotState};
use super::action::Action;
use super::sockets::Borrower;
use super::worker::Worker;
use super::worker::health::Health;
use super::worker::limits::Limits;
use super::worker::state::State;
use super::{Job, Phase, Primary, Step};
use crate::base::ids::{ListenerId, Slot, SocketId, WorkerId};
use crate::base::own_sockets::OwnSockets;
use crate::base::time::Time;
use crate::primary::plan::Plan;

impl Primary {
    /// Notes which slots' clients are served, and which wait for a worker.
    pub(super) fn note_presence(&mut self, now: Time) {
        let Self { slots, workers, .. } = self;
        for state in slots.values_mut() {
            let ready = match state.seat {
                Seat::Held(worker) => workers.get(&worker).is_some_and(Worker::is_ready),
                Seat::Empty
                | Seat::Waiting { .. }
                | Seat::Errored { .. }
                | Seat::Stopped { .. } => false,
            };
            let spec = &state.plan.spec;
            state.presence = match state.presence {
                _ if ready => Presence::Here,
                _ if spec.balance != Balance::Sticky || !state.has_hope() => Presence::Away,
                Presence::Here => Presence::Missed { until: now + spec.times.sticky_wait },
                Presence::Missed { until } => Presence::Missed { until },
                Presence::Away => Presence::Away,
            };
            if matches!(state.presence, Presence::Missed { until } if until <= now) {
                state.presence = Presence::Away;
            }
        }
    }

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
        self.workers.get(&state.seat.holder()?)
    }

    /// The workers in the seats of the wanted slots.
    pub(super) fn seated_workers(&self) -> impl Iterator<Item = &Worker> {
        self.wanted().filter_map(|(_, state)| self.seated(state))
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
            if let Some(worker) = state.vacate() {
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

    /// Ends the backoffs that are over, and tries again what failed too often.
    pub(super) fn end_waits(&mut self, now: Time) {
        for state in self.slots.values_mut() {
            if state.seat.due().is_some_and(|due| due <= now) {
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
            let required = self.slot(slot).served_early();
            let worker = self.spawn(slot, plan, required, step);
            self.slot(slot).seat = Seat::Held(worker);
        }
    }

    /// Each slot has at most one worker per generation: a leaving worker of the same generation
    /// must be gone first, unless it was recycled; and so must a successor that is being killed.
    fn may_start(&self, state: &SlotState) -> bool {
        let same = |worker: &&Worker| {
            worker.plan.generation == state.plan.generation && worker.recycled.is_none()
        };
        let worker = |id: &WorkerId| self.workers.get(id);
        let mut leaving = state.retiring.iter().filter_map(worker);
        let mut coming = state.successor.iter().filter_map(worker);
        !leaving.any(|one| same(&one)) && !coming.any(|one| same(&one) && one.is_ending())
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
        let required = required
            .filter(|_| plan.spec.serve.is_empty())
            .map(|all| all.into_iter().filter(is_wanted).collect());
        let lend = self.lend_configured(id, slot, &plan);
        let inherits = |awaited: &AddressPattern| {
            lend.iter().any(|(listener, _)| self.sockets.is_at(*listener, *awaited))
        };
        let awaited = plan.spec.serve.iter().filter(|awaited| !inherits(awaited)).copied();
        let awaited = awaited.collect();
        let worker = Worker {
            id,
            slot,
            plan: plan.clone(),
            state: State::Spawning { doomed: false },
            prepares: None,
            took_leave: false,
            started: step.now,
            ready_since: None,
            required,
            lent: lend.iter().map(|(listener, _)| *listener).collect(),
            bound: BTreeSet::new(),
            closed: BTreeSet::new(),
            late: BTreeSet::new(),
            awaited,
            already_open: BTreeMap::new(),
            shares: lend.iter().any(|(listener, _)| self.sockets.is_shared(*listener)),
            watch: None,
            cut: 0,
            recalled: None,
            finishes: None,
            finished: None,
            is_proven: false,
            proved: false,
            is_quiet: self.quiet.has(&plan),
            unix_paths: BTreeSet::new(),
            own: OwnSockets::default(),
            leaves: false,
            said_ready: false,
            notifies: false,
            says_stopping: false,
            status_text: None,
            refused: None,
            limits: Limits::draw(&plan.spec.recycle, &mut self.dice),
            excess: None,
            recycled: None,
            readiness: Health::default(),
            liveness: Health::default(),
            withdrawn: false,
            out_of_memory: false,
        };
        self.workers.insert(id, worker);
        if self.prepare(id, step) {
            return id;
        }
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
