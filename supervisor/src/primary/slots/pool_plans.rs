//! The plans of the pools after a reload of the app, a reload of one pool, or scaling.

use std::sync::Arc;

use config::spec::AppSpec;
use ipc::control::FailureKind;

use super::pools::{LAST, OWN, Pools};
use crate::base::ids::{ClientId, PoolIndex};
use crate::primary::messages;
use crate::primary::plan::Plan;
use crate::primary::{Primary, Step};

impl Primary {
    /// The pools of `app`, whose spec may differ from the one that serves. An existing pool keeps
    /// its index. Fails if there is no free index for a new pool.
    pub(in crate::primary) fn plan_pools(&mut self, app: Plan) -> Result<Pools, String> {
        let spec = Arc::clone(&app.spec);
        let same = app.edition == self.serving.edition;
        let mut planned = Pools::bare(app);
        for pool in &spec.pools {
            let held = self.serving.named(&pool.name).filter(|pool_index| *pool_index != OWN);
            let pool_index = match held {
                Some(pool_index) => pool_index,
                None => self
                    .free_pool_index(&planned)
                    .ok_or_else(|| messages::no_room_for_pool(&pool.name))?,
            };
            let before = self.serving.pools.get(&pool_index).filter(|_| same).cloned();
            let plan = match before {
                Some(plan) => Plan { generation: planned.generation, ..plan },
                None => self.edited(planned.app.clone(), Arc::new(spec.of_pool(pool))),
            };
            planned.pools.insert(pool_index, plan);
        }
        Ok(planned)
    }

    /// An index whose slots have no worker, and will get none.
    fn free_pool_index(&self, coming: &Pools) -> Option<PoolIndex> {
        (OWN.0 + 1..=LAST).map(PoolIndex).find(|pool_index| {
            let taken = [&self.serving, coming].iter().any(|l| l.pools.contains_key(pool_index));
            !taken && self.slots.range(pool_index.slots_from(0)).next().is_none()
        })
    }

    /// The pools that serve, with the next generation of one pool. Only this pool takes its new
    /// spec from `spec`.
    pub(in crate::primary) fn replan_pool(
        &mut self,
        pool_index: PoolIndex,
        spec: Option<AppSpec>,
    ) -> Result<Pools, String> {
        let generation = self.newest;
        let mut planned = self.serving.clone();
        planned.forget_alone(pool_index);
        let Some(plan) = planned.plan(pool_index).cloned() else { return Ok(planned) };
        let plan = Plan { generation, ..plan };
        if pool_index == OWN {
            planned.app = match spec {
                Some(spec) => {
                    let pools = plan.spec.pools.clone();
                    self.edited(plan, Arc::new(AppSpec { pools, ..spec }))
                }
                None => plan,
            };
            return Ok(planned);
        }
        let name = plan.spec.pool().to_owned();
        let plan = match spec {
            Some(spec) => {
                let found = spec.pools.into_iter().find(|pool| pool.name == name);
                let pool = found.ok_or_else(|| messages::pool_is_gone(&self.serving, &name))?;
                let mut app = AppSpec::clone(&planned.spec);
                let mut known = app.pools.iter_mut().filter(|known| known.name == name);
                if let Some(known) = known.next() {
                    known.clone_from(&pool);
                }
                let of_pool = Arc::new(app.of_pool(&pool));
                planned.app = self.edited(planned.app, Arc::new(app));
                self.edited(plan, of_pool)
            }
            None => plan,
        };
        planned.pools.insert(pool_index, plan);
        Ok(planned)
    }

    /// The index of the pool that a request names; if it names none, that of the app's own pool. If
    /// there is no such pool, this tells the clients and returns `None`.
    pub(in crate::primary) fn pool_index(
        &self,
        pool: Option<&str>,
        clients: &[ClientId],
        step: &mut Step<'_>,
    ) -> Option<PoolIndex> {
        let Some(name) = pool else { return Some(OWN) };
        let pool_index = self.serving.named(name);
        if pool_index.is_none() {
            let reason = messages::no_such_pool(&self.serving, name, &self.serving.names());
            step.answer_all(clients, &messages::failed(FailureKind::Usage, reason, &[]));
        }
        pool_index
    }
}
