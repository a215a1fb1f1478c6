//! The pools of an app, and which slots are whose.
//!
//! The app's own pool has the slots from 0 on. Every other one has a berth, and with it a range of
//! slots that no other pool ever uses while anybody is left there. A pool keeps its berth as long
//! as the app has it, whatever becomes of the others.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

use config::spec::AppSpec;
use ipc::control::FailureKind;
use serde::{Deserialize, Serialize};

use crate::base::ids::{ClientId, Generation, PoolIndex, Slot};
use crate::primary::messages;
use crate::primary::worker::Plan;
use crate::primary::{Primary, Step};

/// So many slots a berth has: more than a pool may have workers.
const SPAN: u16 = 2000;
/// The last berth.
const LAST: u16 = u16::MAX / SPAN - 1;

/// The app's own pool.
pub(in crate::primary) const OWN: PoolIndex = PoolIndex(0);

/// What the slots run, or shall run: one plan for each pool. For most purposes the plan of the
/// app's own pool stands for all, since its spec is the app's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::primary) struct Pools {
    #[serde(flatten)]
    pub(in crate::primary) app: Plan,
    /// The other pools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::primary) pools: BTreeMap<PoolIndex, Plan>,
}

impl Deref for Pools {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.app
    }
}

impl DerefMut for Pools {
    fn deref_mut(&mut self) -> &mut Plan {
        &mut self.app
    }
}

impl Slot {
    pub(in crate::primary) fn berth(self) -> PoolIndex {
        PoolIndex(self.0 / SPAN)
    }
}

impl PoolIndex {
    /// Its slots from the one at `first` on.
    pub(in crate::primary) fn slots_from(self, first: u16) -> Range<Slot> {
        let begin = self.0 * SPAN;
        Slot(begin + first.min(SPAN))..Slot(begin + SPAN)
    }
}

impl Pools {
    /// One of nothing but the app's own pool.
    pub(in crate::primary) fn bare(app: Plan) -> Self {
        Self { app, pools: BTreeMap::new() }
    }

    pub(in crate::primary) fn plan(&self, berth: PoolIndex) -> Option<&Plan> {
        if berth == OWN { Some(&self.app) } else { self.pools.get(&berth) }
    }

    /// What a slot runs, if it is wanted.
    pub(in crate::primary) fn plan_of(&self, slot: Slot) -> Option<&Plan> {
        self.plan(slot.berth()).filter(|plan| slot.0 % SPAN < plan.spec.wanted)
    }

    pub(in crate::primary) fn wants(&self, slot: Slot) -> bool {
        self.plan_of(slot).is_some()
    }

    /// Whether it wants this slot run by another generation than `of`.
    pub(in crate::primary) fn replaces(&self, slot: Slot, of: Generation) -> bool {
        self.plan_of(slot).is_some_and(|plan| plan.generation != of)
    }

    /// Every pool, the app's own first.
    pub(in crate::primary) fn all(&self) -> impl Iterator<Item = (PoolIndex, &Plan)> {
        std::iter::once((OWN, &self.app)).chain(self.pools.iter().map(|(at, plan)| (*at, plan)))
    }

    pub(in crate::primary) fn plans_mut(&mut self) -> impl Iterator<Item = &mut Plan> {
        std::iter::once(&mut self.app).chain(self.pools.values_mut())
    }

    /// The wanted slots.
    pub(in crate::primary) fn slots(&self) -> impl Iterator<Item = (Slot, &Plan)> {
        self.all().flat_map(|(berth, plan)| {
            let first = berth.slots_from(0).start.0;
            (0..plan.spec.wanted.min(SPAN)).map(move |at| (Slot(first + at), plan))
        })
    }

    /// All workers that it wants.
    pub(in crate::primary) fn total(&self) -> u16 {
        let wanted = self.all().map(|(_, plan)| plan.spec.wanted);
        wanted.fold(0, u16::saturating_add)
    }

    /// The pool of that name.
    pub(in crate::primary) fn named(&self, name: &str) -> Option<PoolIndex> {
        self.all().find(|(_, plan)| plan.spec.pool() == name).map(|(berth, _)| berth)
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.all().map(|(_, plan)| plan.spec.pool()).collect();
        names.join(", ")
    }

    /// A slot, for people: `slot 1`, `pool hash, slot 2001`.
    pub(in crate::primary) fn place(&self, slot: Slot) -> String {
        match self.pools.get(&slot.berth()) {
            Some(plan) => format!("pool {}, slot {slot}", plan.spec.pool()),
            None => format!("slot {slot}"),
        }
    }

    /// The slots that there are, for people.
    pub(in crate::primary) fn ranges(&self) -> String {
        let range = |(berth, plan): (PoolIndex, &Plan)| {
            let first = berth.slots_from(0).start.0;
            format!("{first} to {}", first + plan.spec.wanted.max(1) - 1)
        };
        self.all().map(range).collect::<Vec<_>>().join(", ")
    }
}

impl Primary {
    /// The lineup of `app`, whose spec may be another than what serves. A pool that there is keeps
    /// its berth. Fails if there is no free one for a new pool.
    pub(in crate::primary) fn lineup(&mut self, app: Plan) -> Result<Pools, String> {
        let spec = Arc::clone(&app.spec);
        let same = app.edition == self.serving.edition;
        let mut lineup = Pools::bare(app);
        for pool in &spec.pools {
            let held = self.serving.named(&pool.name).filter(|berth| *berth != OWN);
            let berth = match held {
                Some(berth) => berth,
                None => self.free_berth(&lineup).ok_or_else(|| messages::no_berth(&pool.name))?,
            };
            let before = self.serving.pools.get(&berth).filter(|_| same).cloned();
            let plan = match before {
                Some(plan) => Plan { generation: lineup.generation, ..plan },
                None => self.edited(lineup.app.clone(), Arc::new(spec.of_pool(pool))),
            };
            lineup.pools.insert(berth, plan);
        }
        Ok(lineup)
    }

    /// One where nobody is, or is about to be.
    fn free_berth(&self, coming: &Pools) -> Option<PoolIndex> {
        (OWN.0 + 1..=LAST).map(PoolIndex).find(|berth| {
            let taken = [&self.serving, coming].iter().any(|l| l.pools.contains_key(berth));
            !taken && self.slots.range(berth.slots_from(0)).next().is_none()
        })
    }

    /// What serves, with the next generation of one pool, and of it alone what `spec` says.
    pub(in crate::primary) fn lineup_of(
        &mut self,
        berth: PoolIndex,
        spec: Option<AppSpec>,
    ) -> Result<Pools, String> {
        let generation = self.newest;
        let mut lineup = self.serving.clone();
        let Some(plan) = lineup.plan(berth).cloned() else { return Ok(lineup) };
        let plan = Plan { generation, ..plan };
        if berth == OWN {
            lineup.app = match spec {
                Some(spec) => {
                    let pools = plan.spec.pools.clone();
                    self.edited(plan, Arc::new(AppSpec { pools, ..spec }))
                }
                None => plan,
            };
            return Ok(lineup);
        }
        let name = plan.spec.pool().to_owned();
        let plan = match spec {
            Some(spec) => {
                let found = spec.pools.into_iter().find(|pool| pool.name == name);
                let pool = found.ok_or_else(|| messages::pool_is_gone(&self.serving, &name))?;
                let mut app = AppSpec::clone(&lineup.spec);
                let mut known = app.pools.iter_mut().filter(|known| known.name == name);
                if let Some(known) = known.next() {
                    known.clone_from(&pool);
                }
                let of_pool = Arc::new(app.of_pool(&pool));
                lineup.app = self.edited(lineup.app, Arc::new(app));
                self.edited(plan, of_pool)
            }
            None => plan,
        };
        lineup.pools.insert(berth, plan);
        Ok(lineup)
    }

    /// The berth of the pool that somebody speaks of; `None`: it speaks of none, so of the app's
    /// own. Whoever speaks of one that there is not is told so.
    pub(in crate::primary) fn berth(
        &self,
        pool: Option<&str>,
        clients: &[ClientId],
        step: &mut Step<'_>,
    ) -> Option<PoolIndex> {
        let Some(name) = pool else { return Some(OWN) };
        let berth = self.serving.named(name);
        if berth.is_none() {
            let reason = messages::no_such_pool(&self.serving, name, &self.serving.names());
            step.answer_all(clients, &messages::failed(FailureKind::Usage, reason, &[]));
        }
        berth
    }
}
