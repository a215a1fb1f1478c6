//! The requests that wait for the running job, in order. Several waiting reloads become one.

use std::sync::Arc;

use config::spec::AppSpec;
use ipc::control::{FailureKind, LONGEST_KEPT};

use super::blue_green;
use super::rollout::Extent;
use super::state::{AtOnce, Pending, Wish};
use crate::base::ids::{ClientId, Generation, Slot};
use crate::primary::messages;
use crate::primary::plan::Plan;
use crate::primary::{Phase, Primary, Step};

/// The most requests that may wait.
const LIMIT: usize = 64;

impl Primary {
    pub(in crate::primary) fn enqueue(
        &mut self,
        wish: Wish,
        client: Option<ClientId>,
        step: &mut Step<'_>,
    ) {
        if let Phase::Stopping(stopping) = &self.phase {
            step.answer_all(client.as_slice(), &stopping.refusal(&self.serving));
            return;
        }
        // It would have to wait for a person. What no client asks for waits.
        if let Some(client) = client.filter(|_| self.is_paused()) {
            let reason = messages::rollout::is_paused(&self.serving);
            return step.answer(client, messages::failed(FailureKind::Failed, reason, &[]));
        }
        let waiting: usize = self.queue.iter().map(|pending| pending.clients.len().max(1)).sum();
        if waiting >= LIMIT {
            let reason = messages::queue_full(&self.serving, LIMIT);
            step.answer_all(client.as_slice(), &messages::failed(FailureKind::Failed, reason, &[]));
            return;
        }
        match (self.queue.back_mut(), wish) {
            (
                Some(Pending { wish: Wish::Replace { hard, spec, pool }, clients }),
                Wish::Replace { hard: also_hard, spec: newer, pool: other },
            ) if *hard == also_hard && *pool == other => {
                clients.extend(client);
                if newer.is_some() {
                    *spec = newer;
                }
            }
            (
                Some(Pending { wish: Wish::Configure { change, method }, clients }),
                Wish::Configure { change: newer, method: other },
            ) if *change == newer && *method == other => clients.extend(client),
            (
                Some(Pending { wish: Wish::ReplaceWorker { slot }, clients }),
                Wish::ReplaceWorker { slot: other },
            ) if *slot == other => clients.extend(client),
            (_, wish) => {
                self.queue.push_back(Pending { wish, clients: client.into_iter().collect() });
            }
        }
    }

    /// Begins the oldest request. Returns whether there was one.
    pub(in crate::primary) fn begin_next(&mut self, step: &mut Step<'_>) -> bool {
        if self.merging.is_some() {
            return false;
        }
        let Some(Pending { wish, clients }) = self.queue.pop_front() else { return false };
        match &wish {
            // These find out first whether they change anything.
            Wish::Configure { .. } | Wish::Rollback | Wish::Scale { .. } => {}
            Wish::Replace { .. } | Wish::ReplaceAtOnce { .. } | Wish::ReplaceWorker { .. } => {
                self.cool(blue_green::ANOTHER_CHANGE.to_owned(), step);
            }
        }
        match wish {
            Wish::Rollback => self.roll_back(&clients, step),
            Wish::ReplaceAtOnce { spec, keep_old } => {
                let at_once = AtOnce { keep_old: keep_old.min(LONGEST_KEPT), switched: false };
                self.begin_replace(false, spec, Some(at_once), clients, step);
            }
            Wish::Configure { change, method } => self.begin_merge(change, method, clients, step),
            Wish::Replace { hard: false, spec, pool: Some(pool) } => {
                self.begin_replace_of(&pool, spec, clients, step);
            }
            Wish::Replace { hard, spec, pool: _ } => {
                self.begin_replace(hard, spec, None, clients, step);
            }
            Wish::ReplaceWorker { slot } => self.begin_replace_worker(slot, clients, step),
            Wish::Scale { .. } if matches!(self.phase, Phase::Stopped) => {
                let reason = messages::is_stopped(&self.serving);
                step.answer_all(&clients, &messages::failed(FailureKind::Failed, reason, &[]));
            }
            Wish::Scale { to, because, pool } => {
                if let Some(pool_index) = self.pool_index(pool.as_deref(), &clients, step) {
                    self.begin_scale(pool_index, to, because, clients, step);
                }
            }
        }
        true
    }

    fn begin_replace(
        &mut self,
        hard: bool,
        spec: Option<Box<AppSpec>>,
        at_once: Option<AtOnce>,
        clients: Vec<ClientId>,
        step: &mut Step<'_>,
    ) {
        self.newest = Generation(self.newest.0 + 1);
        let serves = self.serving.app.clone();
        let plan = match spec {
            Some(spec) => self.edited(Plan { generation: self.newest, ..serves }, Arc::from(spec)),
            None => Plan { generation: self.newest, ..serves },
        };
        let planned = match self.plan_pools(plan) {
            Ok(planned) => planned,
            Err(reason) => return self.refuse_reload(&reason, &clients, step),
        };
        if !self.is_alive() {
            self.founding = false;
            self.start(planned, step);
            for client in clients {
                self.wait(client, step.now);
            }
        } else if hard {
            self.begin_hard(planned, clients, step);
        } else {
            let extent = Extent { at_once, ..Extent::default() };
            self.begin_rollout(planned, extent, clients, step);
        }
    }

    fn begin_replace_of(
        &mut self,
        pool: &str,
        spec: Option<Box<AppSpec>>,
        clients: Vec<ClientId>,
        step: &mut Step<'_>,
    ) {
        if matches!(self.phase, Phase::Stopped) {
            let reason = messages::is_stopped(&self.serving);
            step.answer_all(&clients, &messages::failed(FailureKind::Failed, reason, &[]));
            return;
        }
        let Some(pool_index) = self.pool_index(Some(pool), &clients, step) else { return };
        self.newest = Generation(self.newest.0 + 1);
        match self.replan_pool(pool_index, spec.map(|spec| *spec)) {
            Ok(planned) => {
                let extent = Extent { only: Some(pool_index), ..Extent::default() };
                self.begin_rollout(planned, extent, clients, step);
            }
            Err(reason) => self.refuse_reload(&reason, &clients, step),
        }
    }

    /// The slot gets a generation of its own, in which the spec of its pool runs.
    fn begin_replace_worker(&mut self, slot: Slot, clients: Vec<ClientId>, step: &mut Step<'_>) {
        let refused = if matches!(self.phase, Phase::Stopped) {
            Some((FailureKind::Failed, messages::is_stopped(&self.serving)))
        } else if !self.serving.wants(slot) {
            Some((FailureKind::Usage, messages::no_such_slot(&self.serving, slot.0)))
        } else {
            None
        };
        if let Some((kind, reason)) = refused {
            return step.answer_all(&clients, &messages::failed(kind, reason, &[]));
        }
        self.newest = Generation(self.newest.0 + 1);
        let to = self.serving.clone().with_slot(slot, self.newest);
        let only = Some(slot.pool_index());
        let extent = Extent { only, slot: Some(slot), at_once: None };
        self.begin_rollout(to, extent, clients, step);
    }

    fn refuse_reload(&self, reason: &str, clients: &[ClientId], step: &mut Step<'_>) {
        let reason = messages::reload_refused(&self.serving, reason);
        step.answer_all(clients, &messages::failed(FailureKind::Failed, reason, &[]));
    }

    /// The plan with a new spec, which gets an edition of its own.
    pub(in crate::primary) fn edited(&mut self, plan: Plan, spec: Arc<AppSpec>) -> Plan {
        self.editions += 1;
        Plan { edition: self.editions, spec, ..plan }
    }

    /// Whether any slot has a worker, or will get one without another request.
    pub(in crate::primary) fn is_alive(&self) -> bool {
        match self.phase {
            Phase::Opening | Phase::Running => self.wanted().any(|(_, state)| state.has_hope()),
            Phase::Stopping(_) | Phase::Stopped | Phase::Over { .. } => false,
        }
    }

    /// Forgets a client that is gone: it needs no answer.
    pub(in crate::primary) fn forget(&mut self, client: ClientId) {
        self.keep_clients(|other| *other != client);
    }
}
