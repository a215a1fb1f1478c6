//! What follows when a worker becomes ready, listens, asks for a socket, or ends.

use config::spec::RestartOn;
use ipc::control::NoticeKind;

use crate::base::ids::{ListenerId, Slot, SocketId, Ticket, WorkerId};
use crate::base::time::Time;
use crate::primary::action::Action;
use crate::primary::jobs::state::Failure;
use crate::primary::messages;
use crate::primary::slots::restart_policy::{Jitter, Verdict};
use crate::primary::slots::role::Role;
use crate::primary::slots::slot::Seat;
use crate::primary::sockets::Borrower;
use crate::primary::text;
use crate::primary::worker::Worker;
use crate::primary::worker::end::End;
use crate::primary::{Job, Phase, Primary, Step};

impl Primary {
    /// Lends a socket to a worker, whose `bind` hangs until it gets one.
    pub(in crate::primary) fn lend(
        &mut self,
        id: WorkerId,
        listener: ListenerId,
        ticket: Ticket,
        another: bool,
        step: &mut Step<'_>,
    ) {
        let Some(worker) = self.workers.get(&id) else { return };
        let (slot, by) = (worker.slot, worker.plan.generation);
        let inherits = match self.slot(slot).role(id) {
            Role::Seated | Role::Successor | Role::Rescue => true,
            Role::Retiring | Role::Warm => false,
        };
        let borrower = Borrower { worker: id, slot, inherits };
        // Without the listener there is no answer: the code that closed it has refused the `bind`.
        if let Some(socket) = self.sockets.lend(listener, borrower, another, by) {
            if self.sockets.is_already_open(listener)
                && let Some(worker) = self.workers.get_mut(&id)
                && !worker.bound.contains(&listener)
            {
                worker.already_open.insert(listener, (socket, step.now));
            }
            step.act(Action::Lend { ticket, worker: id, listener, socket });
        }
    }

    pub(in crate::primary) fn listens(
        &mut self,
        id: WorkerId,
        listener: ListenerId,
        socket: SocketId,
        step: &mut Step<'_>,
    ) {
        self.sockets.listening(listener, socket, id);
        let shares = self.sockets.is_shared(listener);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.shares |= shares;
        self.quiet.listens(worker, step);
        worker.awaited.retain(|awaited| !self.sockets.is_at(listener, *awaited));
        let change = worker.judge(step.now);
        if worker.is_ready() {
            let slot = worker.slot;
            self.note_served(id, slot);
        }
        self.changed(id, change, step);
    }

    pub(in crate::primary) fn became_ready(&mut self, id: WorkerId, step: &mut Step<'_>) {
        let Some(worker) = self.workers.get(&id) else { return };
        self.quiet.became_ready(worker, step);
        let slot = worker.slot;
        step.publish(messages::about(
            worker,
            NoticeKind::WorkerReady,
            messages::ready(worker, &self.sockets),
        ));
        self.hook_ready(id, step);
        match self.slot(slot).role(id) {
            Role::Seated => {
                self.founding = false;
                self.slot(slot).history.became_ready();
                self.note_served(id, slot);
            }
            Role::Rescue => self.retire(id, step),
            Role::Successor | Role::Retiring | Role::Warm => {}
        }
    }

    /// Notes where the slot's ready worker listens: its next worker must listen there too.
    fn note_served(&mut self, id: WorkerId, slot: Slot) {
        let Some(worker) = self.workers.get(&id) else { return };
        let (served, late) = (worker.listens_now(), worker.late.clone());
        let state = self.slot(slot);
        if state.seat == Seat::Held(id) {
            (state.served, state.late) = (Some(served), late);
        }
    }

    /// A live worker has closed a socket. It may listen there again; until then its slot does not
    /// serve that address.
    pub(in crate::primary) fn closes(
        &mut self,
        id: WorkerId,
        listener: ListenerId,
        socket: SocketId,
        now: Time,
    ) {
        self.sockets.closed(listener, socket, id);
        if self.sweep_at.is_none()
            && self.workers.get(&id).is_some_and(|w| w.has_given_up(listener))
        {
            self.sweep_later(now);
        }
        if let Some(slot) = self.workers.get(&id).filter(|w| w.is_ready()).map(|w| w.slot) {
            self.note_served(id, slot);
        }
    }

    /// Lets a worker finish its connections.
    pub(in crate::primary) fn retire(&mut self, id: WorkerId, step: &mut Step<'_>) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.finishes = self.finishes.get(&worker.slot.pool_index()).copied();
            worker.is_proven = self.proven.contains(&worker.slot.pool_index());
            worker.retire(worker.plan.spec.times.drain_timeout, step);
        }
    }

    /// Handles the end of a worker.
    pub(in crate::primary) fn gone(&mut self, id: WorkerId, end: End, step: &mut Step<'_>) {
        let Some(worker) = self.workers.remove(&id) else { return };
        step.act(match end.lives_on {
            true => Action::Abandon { worker: id },
            false => Action::Release { worker: id },
        });
        // A restored core may not know all sockets that were lent, and so may have missed
        // connections.
        let queued = end.queued.filter(|queued| *queued > 0 || !self.returning);
        self.sockets.vacate(id, queued);
        step.publish(messages::gone(&worker, &end));
        self.hook_end(&worker, &end, step);
        if let Some(finished) = worker.finished {
            let pool = worker.slot.pool_index();
            self.finishes.insert(pool, finished);
            match worker.proved {
                true => self.proven.insert(pool),
                false => self.proven.remove(&pool),
            };
        }
        let state = self.slot(worker.slot);
        if let Some(exit) = end.exit {
            state.last_exit = Some(messages::last_exit(&worker, &end.kind, exit));
        }
        match state.role(id) {
            Role::Seated => {
                state.seat = Seat::Empty;
                self.seat_lost(&worker, end, step);
            }
            Role::Successor => {
                state.successor = None;
                self.successor_lost(&worker, end, step);
            }
            Role::Retiring => {
                state.retiring.remove(&id);
                if let Some(Job::Rollout(rollout)) = &mut self.job {
                    rollout.cut += worker.cut;
                }
            }
            Role::Rescue => self.rescue_lost(&worker, &end, step),
            Role::Warm => {
                state.warm = None;
                self.warm_lost(&worker, &end, step);
            }
        }
    }

    fn seat_lost(&mut self, worker: &Worker, end: End, step: &mut Step<'_>) {
        match self.phase {
            Phase::Running => {}
            Phase::Opening | Phase::Stopping(_) | Phase::Stopped | Phase::Over { .. } => {
                self.slot(worker.slot).seat =
                    Seat::Stopped { reason: messages::STOPPED.to_owned() };
                return;
            }
        }
        if self.founding && is_hopeless(worker, &end) {
            self.abandon(&messages::why(worker, &end), end.last_lines, step);
            return;
        }
        match &self.job {
            Some(Job::Rollout(_)) => self.seat_lost_in_rollout(worker, end, step),
            Some(Job::Hard(hard)) if hard.empties() => {}
            Some(Job::Recycle(_)) => self.seat_lost_in_recycle(worker, end, step),
            Some(Job::Hard(_) | Job::Scale(_)) | None => self.seat_failed(worker, end, step),
        }
    }

    /// The seat is lost by a failure. The restart policy says what follows.
    pub(in crate::primary) fn seat_failed(
        &mut self,
        worker: &Worker,
        end: End,
        step: &mut Step<'_>,
    ) {
        let reason = messages::why(worker, &end);
        let seat = self.after_failure(worker, &end, reason, step);
        match &seat {
            Seat::Empty | Seat::Waiting { .. } => {
                self.restarts += 1;
                self.slot(worker.slot).restarts += 1;
            }
            Seat::Errored { reason, last_lines, .. } => {
                step.publish(messages::slot_errored(worker, reason, last_lines));
            }
            Seat::Held(_) | Seat::Stopped { .. } => {}
        }
        let state = self.slot(worker.slot);
        state.done = matches!(seat, Seat::Stopped { .. }) && !worker.is_server();
        state.seat = seat;
    }

    fn after_failure(
        &mut self,
        worker: &Worker,
        end: &End,
        reason: String,
        step: &Step<'_>,
    ) -> Seat {
        let policy = worker.plan.spec.restart;
        let errored = |why: String, again| Seat::Errored {
            reason: format!("{why}: {reason}"),
            last_lines: end.last_lines.clone(),
            again,
        };
        // An app that ends with its workers is tried again by what started it.
        let later = |dice: &mut Jitter| step.now + dice.jitter(policy.backoff_max);
        let tries_again = !policy.give_up && !self.ends_with_workers;
        if end.is_permanent() {
            let again = tries_again.then(|| later(&mut self.dice));
            return errored("cannot be started".to_owned(), again);
        }
        if end.own_code().is_some_and(|code| policy.is_done(code)) {
            return Seat::Stopped { reason: format!("ended by itself: {reason}") };
        }
        match policy.on {
            RestartOn::Always | RestartOn::Failure => {}
            RestartOn::Never => return errored("not restarted".to_owned(), None),
        }
        if worker.left_well(end, step.now) {
            return Seat::Empty;
        }
        let ready_for = worker.ready_since.map(|since| step.now.since(since));
        let Self { slots, dice, .. } = self;
        let state = slots.get_mut(&worker.slot).expect("a slot outlives its workers");
        match state.history.failed(step.now, ready_for, &policy, dice) {
            Verdict::Again => Seat::Empty,
            Verdict::AgainAt(until) => Seat::Waiting { until, reason },
            Verdict::TooMany(failures) if tries_again => {
                let again = later(dice);
                let every = text::span(policy.backoff_max);
                errored(format!("{failures}, tried again about every {every}"), Some(again))
            }
            Verdict::TooMany(failures) => errored(format!("gave up after {failures}"), None),
        }
    }

    /// The failure of `worker`, as a rollout reports it.
    pub(in crate::primary) fn failure(worker: &Worker, end: End) -> Failure {
        let reason = messages::why(worker, &end);
        Failure { slot: worker.slot, reason, last_lines: end.last_lines }
    }
}

/// Another attempt cannot help on a first start: the program does not exist, or its address is
/// taken.
fn is_hopeless(worker: &Worker, end: &End) -> bool {
    end.is_permanent() || (worker.refused.is_some() && worker.ready_since.is_none())
}
