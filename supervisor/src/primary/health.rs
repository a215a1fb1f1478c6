//! Which workers get no new connections because their readiness fails.
//!
//! A worker is withdrawn only while another one of its pool serves and is not withdrawn: the last
//! one serves on, whatever its probe says. Nothing is killed here. A worker whose liveness fails is
//! replaced by [`super::recycle`].

use ipc::control::NoticeKind;

use super::event::ProbeKind;
use super::worker::Worker;
use super::{Primary, Step};
use crate::base::ids::WorkerId;
use crate::primary::messages;

impl Primary {
    /// The probes that are to be made of a worker now.
    pub(crate) fn probes_of(&self, worker: WorkerId) -> impl Iterator<Item = ProbeKind> {
        let worker = self.workers.get(&worker);
        ProbeKind::ALL.into_iter().filter(move |probe| worker.is_some_and(|it| it.asks(*probe)))
    }

    /// Whether the worker is ready.
    pub(crate) fn is_worker_ready(&self, worker: WorkerId) -> bool {
        self.workers.get(&worker).is_some_and(Worker::is_ready)
    }

    /// Withdraws the workers whose readiness fails, and gives those connections again that pass, or
    /// that have become the last of their pool.
    pub(super) fn withdraw(&mut self, step: &mut Step<'_>) {
        let seated: Vec<WorkerId> = self.seated_workers().map(|it| it.id).collect();
        for id in seated {
            let Some(worker) = self.workers.get(&id).filter(|worker| worker.is_ready()) else {
                continue;
            };
            let goes = worker.readiness.fails() && self.is_replaceable(worker);
            let Some(worker) = self.workers.get_mut(&id).filter(|it| it.withdrawn != goes) else {
                continue;
            };
            worker.withdrawn = goes;
            let (kind, message) = match goes {
                true => (NoticeKind::WorkerWithdrawn, messages::withdrawn(worker)),
                false => (NoticeKind::WorkerReturned, messages::returned(worker)),
            };
            step.publish(messages::about(worker, kind, message));
        }
    }

    /// Whether another worker of its pool serves and is not withdrawn.
    fn is_replaceable(&self, worker: &Worker) -> bool {
        let pool = worker.slot.pool_index();
        let others = self.wanted().filter(|(slot, _)| slot.pool_index() == pool);
        let mut others = others.filter_map(|(_, state)| self.seated(state));
        others.any(|other| other.id != worker.id && other.serves_well())
    }
}

impl Worker {
    /// Whether this probe is to be made of it now.
    fn asks(&self, probe: ProbeKind) -> bool {
        let spec = match probe {
            ProbeKind::Readiness => &self.plan.spec.readiness,
            ProbeKind::Liveness => &self.plan.spec.liveness,
        };
        let now = match probe {
            ProbeKind::Readiness => self.is_ready() || self.is_starting(),
            ProbeKind::Liveness => self.is_ready(),
        };
        spec.ask.is_some() && now
    }

    /// It is ready, and gets new connections.
    pub(super) fn serves_well(&self) -> bool {
        self.is_ready() && !self.withdrawn
    }
}
