//! The laws: what must hold after every step, whatever happened.

mod rollouts;

use std::collections::BTreeSet;

use super::super::slots::slot::{Presence, Rescue, Seat};
use super::super::sockets::{Hold, Listener};
use super::super::worker::Worker;
use super::super::{Job, Phase};
use super::*;
use crate::base::ids::Slot;
use crate::primary::worker::end::Cause;
use crate::primary::worker::state::State;
use config::spec::Balance;
use ipc::control::{AppStatus, NoticeKind};

/// The longest time that a request may wait for its answer.
const PATIENCE: Duration = Duration::from_secs(45 * 60);
/// The longest `sticky_wait` of any spec in the Sim.
const STICKY_WAIT: Duration = Duration::from_secs(5);
/// The longest time that a worker may be frozen.
const FROZEN_AT_MOST: Duration = Duration::from_millis(30);

/// What the laws must know of the past.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The most workers wanted since the primary was last idle.
    wanted: u16,
    /// The most workers of a second generation since then.
    second: u16,
    /// The most workers ever wanted.
    ever_wanted: u16,
    /// The running rollout: its generation, how many workers were ready when it began, and the
    /// failures since.
    rollout: Option<(Generation, usize, usize)>,
    /// The seats of the generation that is being rolled back.
    failed: Option<usize>,
    /// The slots whose workers stay, of a generation that was rolled back.
    unrestored: BTreeSet<Slot>,
    /// The paused rollout: its generation, and the slots that it had begun with.
    paused: Option<(Generation, BTreeSet<Slot>)>,
    /// How a reload has just ended, until that is published.
    ended: Option<ReloadOutcome>,
    /// When replacements of workers that reached a limit began.
    recycles: Vec<Time>,
    /// The workers replaced in that way that have been seen to drain.
    recycled: BTreeSet<WorkerId>,
    /// The workers whose readiness has passed at some time, or could not be asked.
    pub(super) passed: BTreeSet<WorkerId>,
    /// The workers whose `pre_start` has succeeded.
    pub(super) prepared: BTreeSet<WorkerId>,
}

impl Sim {
    pub(super) fn hear(&mut self, notice: Notice) {
        self.look_again();
        if notice.event == NoticeKind::WorkerFailed
            && let Some((_, _, failures)) = &mut self.ledger.rollout
        {
            *failures += 1;
        }
        if notice.event == NoticeKind::WorkerReady {
            self.check_readiness(WorkerId(notice.worker.expect("a notice about a worker")));
        }
        if notice.event == NoticeKind::WorkerRecycled {
            self.check_budget();
        }
        if notice.event == NoticeKind::Warning && notice.message.contains(" lost: ") {
            self.write_off();
        }
        if notice.event == NoticeKind::Warning && notice.message.contains(" does not come back (") {
            self.ledger.unrestored.extend(notice.slot.map(Slot));
        }
        // What is counted is what is told.
        let done = (notice.event == NoticeKind::ReloadDone).then_some(ReloadOutcome::Done);
        let failed =
            (notice.event == NoticeKind::ReloadRolledBack).then_some(ReloadOutcome::RolledBack);
        assert_eq!(self.ledger.ended.take(), done.or(failed), "{}", notice.message);
        self.notices.push(notice);
        if self.notices.len() > 4000 {
            self.notices.drain(..2000);
        }
    }

    pub(super) fn count_reload(&mut self, outcome: ReloadOutcome) {
        assert_eq!(self.ledger.ended.replace(outcome), None, "a reload ended twice");
    }

    pub(super) fn check(&mut self) {
        if self.exit.is_some() {
            self.check_end();
            return;
        }
        if let Some(at) = self.primary.deadline() {
            assert!(at > self.now, "a deadline in the past: {at:?}, now {:?}", self.now);
        }
        self.check_crew();
        self.check_bus();
        self.check_frozen();
        self.check_kept();
        self.check_steering();
        self.check_withdrawn();
        self.check_floor();
        self.check_generations();
        self.check_pause();
        self.check_switch();
        self.check_pools();
        self.check_sockets();
        self.check_rescues();
        self.check_patience();
        self.check_gates();
        self.check_watches();
        self.check_recycling();
        self.check_hooks();
    }

    /// No more replacements begin within a minute than the budget has.
    fn check_budget(&mut self) {
        let (now, minute) = (self.now, Duration::from_secs(60));
        let recycles = &mut self.ledger.recycles;
        recycles.retain(|at| now.since(*at) < minute);
        recycles.push(now);
        let budget = usize::from(self.primary.serving.spec.recycle.budget);
        assert!(recycles.len() <= budget, "{} replaced, {budget} allowed", recycles.len());
    }

    /// One worker at a time is replaced because it reached a limit, and it serves until its
    /// successor is ready.
    pub(super) fn check_recycling(&mut self) {
        let primary = &self.primary;
        let recycled = || primary.workers.values().filter(|worker| worker.recycled.is_some());
        assert!(recycled().count() <= 1, "several workers are recycled at a time");
        let Some(worker) = recycled().next() else { return };
        let state = &primary.slots[&worker.slot];
        match worker.state {
            State::Ready => {
                let waits = matches!(primary.job, Some(Job::Recycle(_)));
                assert!(waits && state.seat == Seat::Held(worker.id), "it serves no more");
            }
            State::Draining(_) if matches!(primary.phase, Phase::Running) => {
                let seen = !self.ledger.recycled.insert(worker.id);
                let served = state.leaving || primary.is_ready(state);
                assert!(seen || served, "its successor is not ready");
            }
            State::Draining(_)
            | State::Spawning { .. }
            | State::Starting { .. }
            | State::Killing { .. } => {}
        }
    }

    /// The bus knows of each worker that drains: it gives it no more calls.
    fn check_bus(&self) {
        for worker in self.primary.workers.values() {
            let drains = matches!(worker.state, State::Draining(_));
            let known = self.fakes[&worker.id].bus_drains;
            assert!(known || !drains, "the bus does not know that worker {} drains", worker.id);
        }
    }

    /// A worker that is ready listens wherever it must, as the kernel shows it.
    fn check_readiness(&self, worker: WorkerId) {
        let Some(known) = self.primary.workers.get(&worker) else { return };
        let fake = &self.fakes[&worker];
        let probed = known.plan.spec.readiness.ask.is_some();
        let passed = self.ledger.passed.contains(&worker);
        assert!(!probed || passed, "worker {worker} is ready, and its readiness never passed");
        for listener in known.required.iter().flatten() {
            let open = &self.listeners[listener];
            let listens = |(on, socket): &(ListenerId, SocketId)| {
                on == listener && (open.shared || open.listening.contains(socket))
            };
            let serves = fake.holds.iter().any(listens);
            let gone = fake.life != Life::Runs || self.mortal.is_some();
            assert!(serves || gone, "worker {worker} is ready and does not serve {listener}");
        }
    }

    /// Each worker has one entry in the status, under its slot. Other entries name no worker.
    pub(super) fn check_entries(&self, status: &AppStatus) {
        let entries = status.workers.iter();
        let named = entries.filter_map(|entry| Some((WorkerId(entry.worker?), Slot(entry.slot))));
        let known = self.primary.workers().map(|(id, slot, _)| (id, slot));
        let (mut named, known) = (named.collect::<Vec<_>>(), known.collect::<Vec<_>>());
        named.sort_unstable();
        assert_eq!(named, known, "the status is about other workers");
    }

    /// While all drain to stop, nobody new is let in where somebody was.
    fn check_gates(&self) {
        let Phase::Stopping(stopping) = &self.primary.phase else { return };
        for listener in
            self.listeners.values().filter(|listener| stopping.gated && !listener.shared)
        {
            let shut = listener.gated || listener.steered.is_empty();
            assert!(shut, "{} accepts connections while all workers stop", listener.address);
        }
    }

    /// The primary gauges every watched worker again and again.
    fn check_watches(&self) {
        for worker in self.primary.workers.values().filter(|worker| worker.is_ready()) {
            let Some(watch) = &worker.watch else { continue };
            let is_its = |due: &Due| matches!(due, Due::Deed(of, Deed::Gauged) if *of == worker.id);
            let gauged = watch.deadline().is_some() || self.due.values().any(is_its);
            let dead = self.fakes[&worker.id].life != Life::Runs;
            assert!(gauged || dead, "worker {} is not gauged any more", worker.id);
        }
    }

    /// When the primary ends, every client has its answer, and no worker or listener is left.
    fn check_end(&self) {
        for client in self.clients.values().filter(|client| !client.gone && !client.endless) {
            assert!(client.answer.is_some(), "never answered: {}", client.request);
        }
        for (id, fake) in &self.fakes {
            assert_eq!(fake.life, Life::Released, "worker {id} is left behind");
        }
        assert!(self.listeners.is_empty(), "a listener is left behind");
        assert!(self.hooks.is_empty(), "a hook is left behind: {:?}", self.hooks);
    }

    /// There is never more than one worker above the wanted number, and one for each slot and
    /// generation, beside one that is recycled.
    fn check_crew(&mut self) {
        let primary = &self.primary;
        let known: Vec<WorkerId> = primary.workers().map(|(id, _, _)| id).collect();
        let live = self.fakes.iter().filter(|(_, fake)| fake.life != Life::Released);
        assert!(
            live.map(|(id, _)| *id).eq(known),
            "the primary and the runtime know other workers"
        );

        let serving = primary.serving.total();
        let coming = match &primary.job {
            Some(Job::Rollout(rollout)) => {
                let new = rollout.to.slots().filter(|(slot, _)| !primary.serving.wants(*slot));
                serving + u16::try_from(new.count()).expect("few slots")
            }
            Some(Job::Scale(_) | Job::Hard(_) | Job::Recycle(_)) | None => serving,
        };
        let calm = matches!(primary.phase, Phase::Running | Phase::Stopped)
            && primary.job.is_none()
            && !primary.anyone_retires();
        let before = if calm { 0 } else { self.ledger.wanted };
        self.ledger.wanted = before.max(serving).max(coming);
        let second = match (&primary.job, &primary.warm) {
            (_, Some(warm)) => warm.planned.total().max(serving),
            (Some(Job::Rollout(rollout)), None) if rollout.at_once.is_some() => {
                rollout.to.total().max(serving)
            }
            (Some(Job::Rollout(_) | Job::Scale(_) | Job::Hard(_) | Job::Recycle(_)) | None, _) => 0,
        };
        self.ledger.second = second.max(if calm { 0 } else { self.ledger.second });
        let wanted = self.ledger.wanted + self.ledger.second;
        self.ledger.ever_wanted = self.ledger.ever_wanted.max(wanted);

        let is_rescue = |worker: &&Worker| {
            matches!(primary.slots[&worker.slot].rescue,
                     Rescue::Live { worker: rescue, .. } if rescue == worker.id)
        };
        let regular: Vec<_> =
            primary.workers.values().filter(|worker| !is_rescue(worker)).collect();
        let limit = usize::from(self.ledger.wanted + self.ledger.second) + 1;
        assert!(regular.len() <= limit, "{} workers, {limit} allowed", regular.len());
        let lasting: Vec<_> = regular.iter().filter(|w| w.recycled.is_none()).collect();
        let places: BTreeSet<_> = lasting.iter().map(|w| (w.slot, w.plan.generation)).collect();
        assert_eq!(places.len(), lasting.len(), "two workers of one slot and generation");
    }

    /// A worker is withdrawn only if its readiness fails and another one of its pool is not.
    fn check_withdrawn(&self) {
        let primary = &self.primary;
        if !matches!(primary.phase, Phase::Running) {
            return;
        }
        let seated = || primary.seated_workers();
        for worker in seated().filter(|worker| worker.is_ready() && worker.withdrawn) {
            let id = worker.id;
            assert!(worker.readiness.fails(), "worker {id} is withdrawn, and its probe passes");
            let serves = |other: &Worker| {
                other.is_ready()
                    && !other.withdrawn
                    && other.slot.pool_index() == worker.slot.pool_index()
            };
            assert!(seated().any(serves), "worker {id} is withdrawn, and no other one serves");
        }
    }

    /// The targets that steering must have: sockets of seated, ready, listening workers. Those
    /// that are withdrawn are not among them, unless all are.
    fn serving(&self, listener: &Listener) -> Vec<Target> {
        let primary = &self.primary;
        let mut targets: Vec<(Target, bool)> = listener
            .sockets()
            .filter_map(|(socket, state)| match state.hold {
                Hold::Lent { worker, slot, listening: true }
                    if primary.workers[&worker].is_ready()
                        && primary.slots[&slot].seat == Seat::Held(worker) =>
                {
                    Some((Target { slot, socket }, primary.workers[&worker].withdrawn))
                }
                Hold::Lent { .. } | Hold::Vacant { .. } | Hold::Free => None,
            })
            .collect();
        if targets.iter().any(|(_, withdrawn)| !withdrawn) {
            targets.retain(|(_, withdrawn)| !withdrawn);
        }
        let mut targets: Vec<Target> = targets.into_iter().map(|(target, _)| target).collect();
        targets.sort_unstable();
        targets
    }

    /// A worker killed as hung had stood still for `hang_timeout`, with connections waiting.
    pub(super) fn check_hung(&self, worker: WorkerId) {
        let Some(known) = self.primary.workers.get(&worker) else { return };
        let State::Killing { cause: Cause::Failed(reason), .. } = &known.state else { return };
        if !reason.starts_with("hung: ") {
            return;
        }
        let fake = &self.fakes[&worker];
        let stood = self.now.since(fake.moved);
        assert!(stood >= known.plan.spec.times.hang_timeout, "killed as hung after {stood:?}");
        assert!(self.queued(fake) > 0, "killed as hung though no connection waits");
    }

    /// A worker is frozen only for a look while it drains, or when it is about to be killed, and
    /// not for long.
    fn check_frozen(&self) {
        for (id, fake) in &self.fakes {
            let Some(since) = fake.frozen else { continue };
            let span = self.now.since(since);
            let state = self.primary.workers.get(id).map(|worker| &worker.state);
            let killed = matches!(state, Some(State::Killing { deadline: None, .. }));
            assert!(killed || span <= FROZEN_AT_MOST, "worker {id} is frozen for {span:?}");
            let fine = match state {
                None | Some(State::Draining(_) | State::Killing { deadline: None, .. }) => true,
                Some(
                    State::Spawning { .. }
                    | State::Starting { .. }
                    | State::Ready
                    | State::Killing { .. },
                ) => false,
            };
            assert!(fine, "worker {id} was left frozen: {state:?}");
        }
    }

    /// Kept connections end where a worker drains, and nowhere else.
    fn check_kept(&self) {
        for worker in self.primary.workers.values() {
            let fake = &self.fakes[&worker.id];
            let wanted = match worker.state {
                State::Spawning { .. } | State::Starting { .. } | State::Ready => false,
                State::Draining(_) => true,
                State::Killing { .. } => continue,
            };
            let dead = fake.life != Life::Runs;
            assert!(dead || fake.ends_kept == wanted, "worker {}: kept connections", worker.id);
        }
    }

    /// Whether the slot's worker is gone and its clients wait for the next one.
    fn is_missed(&self, slot: Slot) -> bool {
        let Some(state) = self.primary.slots.get(&slot) else { return false };
        match state.presence {
            Presence::Here | Presence::Away => false,
            Presence::Missed { until } => {
                assert_eq!(state.plan.spec.balance, Balance::Sticky);
                assert!(until > self.now && until <= self.now + STICKY_WAIT);
                state.has_hope() && !self.primary.is_ready(state)
            }
        }
    }

    /// New connections go to all workers that serve, and to no others. So it is after every step,
    /// and before anybody is told anything.
    pub(super) fn check_steering(&self) {
        if !matches!(self.primary.phase, Phase::Running) {
            return;
        }
        for listener in self.primary.sockets.iter().filter(|listener| !listener.opened.shared) {
            let serving = self.serving(listener);
            let steered = &self.listeners[&listener.opened.id].steered;
            // Slots whose clients wait for the next worker may be targets too.
            let (missed, served): (Vec<Target>, Vec<Target>) =
                steered.iter().partition(|target| self.is_missed(target.slot));
            let awaited = missed.iter().all(|target| !serving.contains(target));
            if !serving.is_empty() {
                assert_eq!(served, serving, "steering of {}", listener.opened.address);
                assert!(awaited, "a slot is served and missed: {steered:?}");
            }
        }
    }

    /// A worker that is about to drain gets no new connections if another worker serves.
    pub(super) fn check_parting(&self, worker: WorkerId) {
        if !matches!(self.primary.phase, Phase::Running) {
            return;
        }
        for listener in self.primary.sockets.iter() {
            let steered = &self.listeners[&listener.opened.id].steered;
            let holds = &self.fakes[&worker].holds;
            let is_target =
                steered.iter().any(|target| holds.contains(&(listener.opened.id, target.socket)));
            let serving = self.serving(listener);
            assert!(!is_target || serving.is_empty(), "worker {worker} drains and is steered to");
        }
    }

    /// No free socket holds waiting connections, and there are not too many sockets.
    fn check_sockets(&self) {
        let limit = 2 * usize::from(self.ledger.ever_wanted) + 8;
        for listener in self.primary.sockets.iter().filter(|listener| !listener.opened.shared) {
            let queues = &self.listeners[&listener.opened.id].queues;
            assert!(queues.len() <= limit, "{} sockets, {limit} allowed", queues.len());
            for (socket, state) in listener.sockets() {
                let waiting = queues.get(&socket).copied().unwrap_or(0);
                // Sockets that still get connections for want of a better one are not forgotten.
                let steered = listener.steered.iter().any(|target| target.socket == socket);
                let forgotten = state.hold == Hold::Free && waiting > 0 && !steered;
                assert!(!forgotten, "{waiting} wait in free socket {socket} of {listener:?}");
            }
        }
    }

    /// If connections wait where no worker of the slot will come, there is a rescue.
    fn check_rescues(&self) {
        let primary = &self.primary;
        let busy = matches!(primary.job, Some(Job::Hard(_))) || primary.sweep_at.is_some();
        if busy || !matches!(primary.phase, Phase::Running) {
            return;
        }
        for (slot, state) in &primary.slots {
            let deserted = state.leaving || primary.is_ready(state);
            for (listener, _) in primary.sockets.kept_for(*slot) {
                let dropped = primary.sockets.is_dropped_by(&state.plan, listener);
                let rescued = state.rescue != Rescue::None;
                assert!(!deserted || dropped || rescued, "no worker comes to slot {slot}");
            }
        }
    }

    /// The core declared connections lost.
    fn write_off(&mut self) {
        for listener in self.primary.sockets.iter() {
            let queues = &mut self.listeners.get_mut(&listener.opened.id).expect("open").queues;
            for (socket, _) in listener.sockets().filter(|(_, state)| state.hold == Hold::Free) {
                queues.insert(socket, 0);
            }
        }
    }

    fn check_patience(&self) {
        for client in self.clients.values() {
            let waits = !client.gone && !client.endless && client.answer.is_none();
            let waited = self.now.since(client.asked);
            assert!(!waits || waited < PATIENCE, "no answer to {}", client.request);
        }
    }

    pub(super) fn waiting_clients(&self) -> Vec<ClientId> {
        let waits = |client: &Client| !client.gone && !client.endless && client.answer.is_none();
        self.clients.iter().filter(|(_, client)| waits(client)).map(|(id, _)| *id).collect()
    }

    /// Forgets what no law asks about any more.
    pub(super) fn tidy(&mut self) {
        self.clients.retain(|_, client| !client.gone && client.answer.is_none());
        self.fakes.retain(|_, fake| fake.life != Life::Released);
    }
}
