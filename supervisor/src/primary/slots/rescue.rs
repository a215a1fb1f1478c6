//! Rescue: connections may wait in a socket for which no worker of its slot will come, because its
//! worker died while draining or the slot is no longer wanted. Such a socket gets a rescue worker,
//! which serves what waits there and leaves.

use ipc::control::NoticeKind;

use super::restart_policy::backoff;
use crate::base::ids::Slot;
use crate::primary::messages;
use crate::primary::slots::slot::{Rescue, SlotState};
use crate::primary::worker::Worker;
use crate::primary::worker::end::End;
use crate::primary::{Job, Phase, Primary, Step};

/// The most rescue workers for the same sockets, one after the other.
const TRIES: u32 = 3;

impl Primary {
    /// Starts the rescue workers that are due.
    pub(in crate::primary) fn rescue(&mut self, step: &mut Step<'_>) {
        let may = self.may_rescue();
        let slots: Vec<Slot> = self.slots.keys().copied().collect();
        for slot in slots {
            let state = self.slots.get(&slot);
            let orphaned = may && state.is_some_and(|state| self.is_orphaned(slot, state));
            let state = self.slot(slot);
            match state.rescue {
                Rescue::Live { .. } => {}
                Rescue::Due { .. } if !orphaned => state.rescue = Rescue::None,
                Rescue::Due { at, tries } if at <= step.now => self.send_rescue(slot, tries, step),
                Rescue::None if orphaned => self.send_rescue(slot, 0, step),
                Rescue::Due { .. } | Rescue::None => {}
            }
        }
    }

    /// While all workers stop, the primary starts no rescue. What waits then waits for the next
    /// start, which may never come.
    fn may_rescue(&self) -> bool {
        match self.phase {
            Phase::Running => !matches!(self.job, Some(Job::Hard(_))),
            Phase::Opening | Phase::Stopping(_) | Phase::Stopped | Phase::Over { .. } => false,
        }
    }

    /// Connections are kept for the slot, a worker of its plan can serve them, and no worker will
    /// come for them. For an address that no worker serves, the primary knows this only after the
    /// sweep.
    fn is_orphaned(&self, slot: Slot, state: &SlotState) -> bool {
        let can_be_served = |(listener, _)| {
            !self.sockets.is_dropped_by(&state.plan, listener)
                && (self.sweep_at.is_none() || self.is_served(listener))
        };
        (state.leaving || self.is_ready(state)) && self.sockets.kept_for(slot).any(can_be_served)
    }

    fn send_rescue(&mut self, slot: Slot, tries: u32, step: &mut Step<'_>) {
        let plan = self.slot(slot).plan.clone();
        let required = self.sockets.kept_for(slot).map(|(listener, _)| listener).collect();
        let worker = self.spawn(slot, plan, Some(required), step);
        self.slot(slot).rescue = Rescue::Live { worker, tries: tries + 1 };
    }

    pub(in crate::primary) fn rescue_lost(
        &mut self,
        worker: &Worker,
        end: &End,
        step: &mut Step<'_>,
    ) {
        let Rescue::Live { tries, .. } = self.slot(worker.slot).rescue else { return };
        let slot = worker.slot;
        let orphaned = self.slots.get(&slot).is_some_and(|state| self.is_orphaned(slot, state));
        self.slot(slot).rescue = if !self.may_rescue() || !orphaned {
            Rescue::None
        } else if tries < TRIES {
            let delay = backoff(&worker.plan.spec.restart, tries - 1);
            Rescue::Due { at: step.now + self.dice.jitter(delay), tries }
        } else {
            let queued = self.sockets.kept_for(slot).map(|(_, queued)| queued).max().unwrap_or(0);
            let message = messages::rescue_failed(queued, tries, &messages::why(worker, end));
            step.publish(messages::about(worker, NoticeKind::Warning, message));
            self.give_up(slot, step);
            Rescue::None
        };
    }

    /// Drops what is kept for the slot, and closes listeners that no worker serves.
    fn give_up(&mut self, slot: Slot, step: &mut Step<'_>) {
        let listeners: Vec<_> = self.sockets.kept_for(slot).map(|(listener, _)| listener).collect();
        self.sockets.give_up(slot);
        for listener in listeners {
            self.close_if_unserved(listener, step);
        }
    }
}
