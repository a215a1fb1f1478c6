//! What must wait for the running job, in order. Several reloads that wait become one.

use std::sync::Arc;

use config::spec::AppSpec;
use ipc::control::FailureKind;
use serde::{Deserialize, Serialize};

use crate::base::ids::{ClientId, Generation};
use crate::primary::messages;
use crate::primary::worker::Plan;
use crate::primary::{Phase, Primary, Step};

/// So many requests may wait.
const LIMIT: usize = 64;

/// Something to begin when nothing else is under way.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::primary) struct Pending {
    pub(in crate::primary) wish: Wish,
    /// Who is to be answered; those who lost patience are not among them any more.
    pub(in crate::primary) clients: Vec<ClientId>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::primary) enum Wish {
    /// Replace all workers; `hard`: stop them first. `None`: by the spec that serves then.
    Replace {
        hard: bool,
        spec: Option<Box<AppSpec>>,
        /// This pool alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pool: Option<String>,
    },
    Scale {
        to: Count,
        because: String,
        /// Of this pool; `None`: of the app's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pool: Option<String>,
    },
}

/// How many workers.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::primary) enum Count {
    Exactly(u16),
    OneMore,
    OneFewer,
}

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
            (_, wish) => {
                self.queue.push_back(Pending { wish, clients: client.into_iter().collect() });
            }
        }
    }

    /// Begins what waits longest. Whether there was anything.
    pub(in crate::primary) fn begin_next(&mut self, step: &mut Step<'_>) -> bool {
        let Some(Pending { wish, clients }) = self.queue.pop_front() else { return false };
        match wish {
            Wish::Replace { hard: false, spec, pool: Some(pool) } => {
                self.begin_replace_of(&pool, spec, clients, step);
            }
            Wish::Replace { hard, spec, pool: _ } => self.begin_replace(hard, spec, clients, step),
            Wish::Scale { .. } if matches!(self.phase, Phase::Stopped) => {
                let reason = messages::is_stopped(&self.serving);
                step.answer_all(&clients, &messages::failed(FailureKind::Failed, reason, &[]));
            }
            Wish::Scale { to, because, pool } => {
                if let Some(berth) = self.berth(pool.as_deref(), &clients, step) {
                    self.begin_scale(berth, to, because, clients, step);
                }
            }
        }
        true
    }

    fn begin_replace(
        &mut self,
        hard: bool,
        spec: Option<Box<AppSpec>>,
        clients: Vec<ClientId>,
        step: &mut Step<'_>,
    ) {
        self.newest = Generation(self.newest.0 + 1);
        let serves = self.serving.app.clone();
        let plan = match spec {
            Some(spec) => self.edited(Plan { generation: self.newest, ..serves }, Arc::from(spec)),
            None => Plan { generation: self.newest, ..serves },
        };
        let lineup = match self.lineup(plan) {
            Ok(lineup) => lineup,
            Err(reason) => return self.refuse_reload(&reason, &clients, step),
        };
        if !self.is_alive() {
            self.founding = false;
            self.start(lineup, step);
            for client in clients {
                self.wait(client, step.now);
            }
        } else if hard {
            self.begin_hard(lineup, clients, step);
        } else {
            self.begin_rollout(lineup, None, clients, step);
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
        let Some(berth) = self.berth(Some(pool), &clients, step) else { return };
        self.newest = Generation(self.newest.0 + 1);
        match self.lineup_of(berth, spec.map(|spec| *spec)) {
            Ok(lineup) => self.begin_rollout(lineup, Some(berth), clients, step),
            Err(reason) => self.refuse_reload(&reason, &clients, step),
        }
    }

    fn refuse_reload(&self, reason: &str, clients: &[ClientId], step: &mut Step<'_>) {
        let reason = messages::reload_refused(&self.serving, reason);
        step.answer_all(clients, &messages::failed(FailureKind::Failed, reason, &[]));
    }

    /// The plan with a spec that no other plan has.
    pub(in crate::primary) fn edited(&mut self, plan: Plan, spec: Arc<AppSpec>) -> Plan {
        self.editions += 1;
        Plan { edition: self.editions, spec, ..plan }
    }

    /// Whether any slot is served, or will be without anybody's asking.
    pub(in crate::primary) fn is_alive(&self) -> bool {
        match self.phase {
            Phase::Opening | Phase::Running => self.wanted().any(|(_, state)| state.has_hope()),
            Phase::Stopping(_) | Phase::Stopped | Phase::Over { .. } => false,
        }
    }

    /// A client is gone: its answer is not wanted any more.
    pub(in crate::primary) fn forget(&mut self, client: ClientId) {
        self.keep_clients(|other| *other != client);
    }
}
