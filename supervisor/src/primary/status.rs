//! The app as people see it. Fields that only the runtime knows stay empty.

use ipc::control::{
    AppStatus, ListenerStatus, Notice, NoticeKind, PoolStatus, RolloutStatus, Status, WorkerState,
    WorkerStatus,
};

use super::jobs::state::Course;
use super::messages;
use super::slots::slot::{Seat, SlotState};
use super::sockets::Listener;
use super::worker::Worker;
use super::worker::state::State;
use super::{Job, Phase, Primary, Step};
#[cfg(test)]
use crate::base::ids::{Generation, WorkerId};
use crate::base::ids::{PoolIndex, Slot};
use crate::base::time::{Time, millis};
use crate::primary::plan::Plan;

impl Primary {
    /// The state of the app. The core knows no pids, memory, queues, logs, contracts or versions.
    pub(crate) fn status(&self, now: Time) -> AppStatus {
        let spec = &self.serving.spec;
        let (status, reason) = self.standing(now);
        AppStatus {
            name: spec.name.clone(),
            namespace: spec.namespace.clone(),
            status,
            reason,
            primary_pid: 0,
            keeper_pid: None,
            primary_deaths: 0,
            version: String::new(),
            generation: self.serving.generation.0,
            balance: spec.balance.into(),
            engine: String::new(),
            notes: [self.unlike_workers(), self.unseen_sockets(), self.doubled_unix_sockets()]
                .into_iter()
                .flatten()
                .chain(self.held_back_code())
                .chain(self.warm_note())
                .collect(),
            done: self.is_done(),
            command: spec.command.clone(),
            cwd: spec.cwd.display().to_string(),
            source: spec.source.as_ref().map(|source| source.display().to_string()),
            logs: Vec::new(),
            listeners: self.sockets.iter().map(|listener| self.listener(listener)).collect(),
            wanted: self.serving.total(),
            wanted_because: messages::why_so_many(&self.serving),
            ready: u16::try_from(self.ready_count()).unwrap_or(u16::MAX),
            restarts: self.restarts,
            recycles: self.recycling.done,
            uptime_ms: self.born.map_or(0, |born| millis(now.since(born))),
            last_reload: self.last_reload.clone(),
            rollout: self.rollout_status(now),
            next_restart_unix_ms: self.scheduled.as_ref().and_then(|planned| planned.next),
            watch: None,
            workers: self.entries().map(|(slot, worker)| self.entry(slot, worker, now)).collect(),
            pools: self
                .serving
                .all()
                .map(|(pool_index, plan)| self.pool(pool_index, plan))
                .collect(),
        }
    }

    /// A sentence about the last reload, if it was rolled back and none has succeeded since.
    fn held_back_code(&self) -> Option<String> {
        let held_back = self.held_back?;
        let newer =
            self.seated_workers().filter(|worker| held_back.is_before(worker.started)).count();
        Some(held_back.sentence(u32::try_from(newer).unwrap_or(u32::MAX)))
    }

    fn rollout_status(&self, now: Time) -> Option<RolloutStatus> {
        let rollout = match &self.job {
            Some(Job::Rollout(rollout)) => rollout,
            Some(Job::Scale(_) | Job::Hard(_) | Job::Recycle(_)) | None => return None,
        };
        Some(RolloutStatus {
            generation: rollout.generation().0,
            replaced: rollout.replaced,
            slots: rollout.slots(),
            going_back: matches!(rollout.course, Course::Back { .. }),
            paused_for_ms: rollout.paused_until().map(|until| millis(until.since(now))),
        })
    }

    /// Whether all workers have done their work, and ended.
    fn is_done(&self) -> bool {
        self.wanted().count() > 0 && self.wanted().all(|(_, state)| state.is_done())
    }

    fn pool(&self, pool_index: PoolIndex, plan: &Plan) -> PoolStatus {
        let slots = pool_index.slots_from(0);
        let of_pool = self.wanted().filter(|(slot, _)| slots.contains(slot));
        let ready = of_pool.filter(|(_, state)| self.is_ready(state)).count();
        let spec = &plan.spec;
        PoolStatus {
            name: spec.pool().to_owned(),
            command: spec.command.clone(),
            generation: plan.generation.0,
            wanted: spec.wanted,
            wanted_because: spec.wanted_because.clone(),
            ready: u16::try_from(ready).unwrap_or(u16::MAX),
            first_slot: slots.start.0,
        }
    }

    /// Each live worker.
    #[cfg(test)]
    pub(crate) fn workers(&self) -> impl Iterator<Item = (WorkerId, Slot, Generation)> {
        self.workers.values().map(|worker| (worker.id, worker.slot, worker.plan.generation))
    }

    /// By slot: its workers, or nobody.
    fn entries(&self) -> impl Iterator<Item = (Slot, Option<&Worker>)> {
        self.slots.iter().flat_map(|(slot, state)| {
            let of_slot = |worker: &&Worker| worker.slot == *slot;
            let workers = self.workers.values().filter(of_slot).map(Some);
            let nobody = !state.leaving && !matches!(state.seat, Seat::Held(_));
            let empty = nobody.then_some(None);
            workers.chain(empty).map(|worker| (*slot, worker))
        })
    }

    fn entry(&self, slot: Slot, worker: Option<&Worker>, now: Time) -> WorkerStatus {
        let state = self.slots.get(&slot);
        let (shown, reason) = match (worker, state) {
            (Some(worker), _) => (worker.state.shown(), self.reason(worker)),
            (None, Some(state)) => vacant(state, now),
            (None, None) => (WorkerState::Stopped, None),
        };
        let plan =
            worker.map_or_else(|| state.map(|state| &state.plan), |worker| Some(&worker.plan));
        WorkerStatus {
            worker: worker.map(|worker| worker.id.0),
            slot: slot.0,
            pool: plan.map(|plan| plan.spec.pool().to_owned()),
            pid: None,
            generation: plan.map_or(0, |plan| plan.generation.0),
            state: shown,
            reason,
            contract: Vec::new(),
            status_text: worker.and_then(|worker| worker.status_text.clone()),
            restarts: state.map_or(0, |state| state.restarts),
            recycles: state.map_or(0, |state| state.recycles),
            uptime_ms: worker.map(|worker| millis(now.since(worker.started))),
            rss_bytes: None,
            cpu_percent: None,
            connections: None,
            accepted: None,
            backlog: None,
            own_listeners: worker
                .map_or_else(Vec::new, |worker| worker.own.all().map(str::to_owned).collect()),
            last_exit: state.and_then(|state| state.last_exit.clone()),
            readiness: worker
                .filter(|worker| worker.plan.spec.readiness.ask.is_some())
                .map(|worker| worker.readiness.shown()),
            liveness: worker
                .filter(|worker| worker.plan.spec.liveness.ask.is_some())
                .map(|worker| worker.liveness.shown()),
            leader: false,
            next_try_ms: state
                .filter(|_| worker.is_none())
                .and_then(|state| state.seat.due())
                .map(|due| millis(due.since(now))),
        }
    }

    fn reason(&self, worker: &Worker) -> Option<String> {
        let own = messages::reason(worker, &self.sockets);
        let held = self.slots.get(&worker.slot).map(|state| state.role(worker.id));
        let recycled = worker.recycled.as_ref().map(|excess| messages::is_recycled(worker, excess));
        own.or(recycled).or_else(|| held.and_then(messages::role))
    }

    fn listener(&self, listener: &Listener) -> ListenerStatus {
        let mut slots: Vec<u16> = listener.steered.iter().map(|target| target.slot.0).collect();
        if listener.opened.shared {
            let serves = |worker: &Worker| worker.is_ready() && worker.serves(listener.opened.id);
            let seated = self.wanted().filter(|(_, s)| self.seated(s).is_some_and(serves));
            slots = seated.map(|(slot, _)| slot.0).collect();
        }
        slots.dedup();
        ListenerStatus {
            address: listener.opened.address.clone(),
            name: listener.opened.name.clone(),
            configured: self.serving.configures(&listener.opened.address),
            sockets: listener.count(),
            slots,
            backlog: 0,
            ..ListenerStatus::default()
        }
    }

    /// The status of the app, and the reason for it.
    fn standing(&self, now: Time) -> (Status, Option<String>) {
        match (&self.phase, &self.job) {
            (Phase::Stopped | Phase::Over { .. }, _) => {
                (Status::Stopped, Some(messages::STOPPED.to_owned()))
            }
            (Phase::Stopping(stopping), _) => {
                (Status::Stopping, stopping.reason().map(str::to_owned))
            }
            (Phase::Opening, _) => {
                (Status::Starting, Some("its addresses are being opened".to_owned()))
            }
            (Phase::Running, Some(Job::Rollout(rollout))) => {
                (Status::Reloading, Some(messages::rollout::rolling(rollout, now)))
            }
            (Phase::Running, Some(Job::Hard(hard))) if hard.empties() => {
                (Status::Reloading, Some("all workers are stopped, then started".to_owned()))
            }
            (Phase::Running, Some(Job::Hard(_) | Job::Scale(_) | Job::Recycle(_)) | None) => {
                self.health()
            }
        }
    }

    /// The status of an app that is not being stopped or replaced.
    fn health(&self) -> (Status, Option<String>) {
        let (ready, wanted) = (self.ready_count(), self.wanted().count());
        if ready == wanted {
            let fails = |worker: &&Worker| worker.is_ready() && worker.readiness.fails();
            let failing = self.seated_workers().find(fails);
            let reason = |worker: &Worker| {
                let why = messages::probes::failed("readiness", &worker.readiness);
                format!("{}: {why}", self.serving.place(worker.slot))
            };
            return match failing {
                Some(worker) => (Status::Degraded, Some(reason(worker))),
                None => (Status::Ready, None),
            };
        }
        let troubles = || {
            self.wanted().filter_map(|(slot, state)| match &state.seat {
                Seat::Errored { reason, .. } => Some((Status::Errored, slot, reason)),
                Seat::Stopped { reason } => Some((Status::Stopped, slot, reason)),
                Seat::Waiting { reason, .. } => Some((Status::Degraded, slot, reason)),
                Seat::Empty | Seat::Held(_) => None,
            })
        };
        let errored = troubles().find(|(status, _, _)| *status == Status::Errored);
        let trouble = errored.or_else(|| troubles().next());
        let reason =
            trouble.map(|(_, slot, reason)| format!("{}: {reason}", self.serving.place(slot)));
        let status = match trouble {
            Some((status, _, _)) if !self.wanted().any(|(_, state)| state.has_hope()) => status,
            Some(_) | None if self.starting && ready == 0 => Status::Starting,
            Some(_) | None => Status::Degraded,
        };
        let counted = || format!("{ready} of {wanted} workers ready");
        (status, reason.or_else(|| Some(counted())))
    }

    /// Publishes a notice if the app's status has changed.
    pub(super) fn announce(&mut self, step: &mut Step<'_>) {
        let (status, reason) = self.standing(step.now);
        if self.announced != Some(status) {
            self.announced = Some(status);
            let message = messages::standing(&self.serving, status, reason.as_deref());
            step.publish(Notice::of_app(NoticeKind::AppStatus, message));
        }
    }
}

/// The state of a slot that nobody serves.
fn vacant(state: &SlotState, now: Time) -> (WorkerState, Option<String>) {
    match &state.seat {
        Seat::Empty | Seat::Held(_) => (WorkerState::Waiting, None),
        Seat::Waiting { until, reason } => {
            (WorkerState::Waiting, Some(messages::restarts_in(until.since(now), reason)))
        }
        Seat::Errored { reason, .. } => (WorkerState::Errored, Some(reason.clone())),
        Seat::Stopped { reason } => (WorkerState::Stopped, Some(reason.clone())),
    }
}

impl State {
    /// As [`WorkerStatus`] has it.
    fn shown(&self) -> WorkerState {
        match self {
            Self::Spawning { .. } => WorkerState::Spawning,
            Self::Starting { .. } => WorkerState::Starting,
            Self::Ready => WorkerState::Ready,
            Self::Draining(_) => WorkerState::Draining,
            Self::Killing { .. } => WorkerState::Killing,
        }
    }
}
