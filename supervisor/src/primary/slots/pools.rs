//! The pools of an app, and the slots of each.
//!
//! The app's own pool has the slots from 0 on. Every other pool has an index, and with it a range
//! of slots. No other pool uses that range while a worker is left in it. A pool keeps its index as
//! long as the app has the pool, whatever happens to the others.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut, Range};

use serde::{Deserialize, Serialize};

use crate::base::ids::{Generation, PoolIndex, Slot};
use crate::primary::plan::Plan;

/// The number of slots of each index: more than a pool may have workers.
const SPAN: u16 = 2000;
/// The last index of a pool.
pub(super) const LAST: u16 = u16::MAX / SPAN - 1;

/// The app's own pool.
pub(in crate::primary) const OWN: PoolIndex = PoolIndex(0);

/// One plan for each pool that serves, or is to serve. For most purposes the plan of the app's own
/// pool stands for all, since its spec is the spec of the app.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::primary) struct Pools {
    #[serde(flatten)]
    pub(in crate::primary) app: Plan,
    /// The other pools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::primary) pools: BTreeMap<PoolIndex, Plan>,
    /// The generations of slots that were replaced by themselves since their pools were.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::primary) alone: BTreeMap<Slot, Generation>,
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
    pub(in crate::primary) fn pool_index(self) -> PoolIndex {
        PoolIndex(self.0 / SPAN)
    }
}

impl PoolIndex {
    /// The slots of this pool from number `first` on.
    pub(in crate::primary) fn slots_from(self, first: u16) -> Range<Slot> {
        let begin = self.0 * SPAN;
        Slot(begin + first.min(SPAN))..Slot(begin + SPAN)
    }
}

impl Pools {
    /// The pools of an app that has only its own.
    pub(in crate::primary) fn bare(app: Plan) -> Self {
        Self { app, pools: BTreeMap::new(), alone: BTreeMap::new() }
    }

    pub(in crate::primary) fn plan(&self, pool_index: PoolIndex) -> Option<&Plan> {
        if pool_index == OWN { Some(&self.app) } else { self.pools.get(&pool_index) }
    }

    /// The plan of a slot, if the slot is wanted.
    pub(in crate::primary) fn plan_of(&self, slot: Slot) -> Option<Plan> {
        self.plan_for(slot).filter(|plan| slot.0 % SPAN < plan.spec.wanted)
    }

    /// The plan of a slot, wanted or not, if there is its pool.
    pub(in crate::primary) fn plan_for(&self, slot: Slot) -> Option<Plan> {
        let plan = self.plan(slot.pool_index())?.clone();
        let generation = self.alone.get(&slot).copied().unwrap_or(plan.generation);
        Some(Plan { generation, ..plan })
    }

    /// The same pools with another generation in one slot.
    pub(in crate::primary) fn with_slot(mut self, slot: Slot, generation: Generation) -> Self {
        self.alone.insert(slot, generation);
        self
    }

    /// Forgets which slots of a pool were replaced by themselves: a new generation of the whole
    /// pool comes.
    pub(in crate::primary) fn forget_alone(&mut self, pool_index: PoolIndex) {
        self.alone.retain(|slot, _| slot.pool_index() != pool_index);
    }

    pub(in crate::primary) fn wants(&self, slot: Slot) -> bool {
        self.plan_of(slot).is_some()
    }

    /// Whether these pools want another generation than `of` in this slot.
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
    pub(in crate::primary) fn slots(&self) -> impl Iterator<Item = (Slot, Plan)> {
        let all = self.all().flat_map(|(pool_index, plan)| {
            let first = pool_index.slots_from(0).start.0;
            (0..plan.spec.wanted.min(SPAN)).map(move |at| Slot(first + at))
        });
        all.filter_map(|slot| Some((slot, self.plan_of(slot)?)))
    }

    /// The number of all wanted workers.
    pub(in crate::primary) fn total(&self) -> u16 {
        let wanted = self.all().map(|(_, plan)| plan.spec.wanted);
        wanted.fold(0, u16::saturating_add)
    }

    /// The index of the pool with that name.
    pub(in crate::primary) fn named(&self, name: &str) -> Option<PoolIndex> {
        self.all().find(|(_, plan)| plan.spec.pool() == name).map(|(pool_index, _)| pool_index)
    }

    /// The names of all pools, for people.
    pub(in crate::primary) fn names(&self) -> String {
        let names: Vec<&str> = self.all().map(|(_, plan)| plan.spec.pool()).collect();
        names.join(", ")
    }

    /// A slot, for people: `slot 1`, `pool hash, slot 2001`.
    pub(in crate::primary) fn place(&self, slot: Slot) -> String {
        match self.pools.get(&slot.pool_index()) {
            Some(plan) => format!("pool {}, slot {slot}", plan.spec.pool()),
            None => format!("slot {slot}"),
        }
    }

    /// The slots of all pools, for people.
    pub(in crate::primary) fn ranges(&self) -> String {
        let range = |(pool_index, plan): (PoolIndex, &Plan)| {
            let first = pool_index.slots_from(0).start.0;
            format!("{first} to {}", first + plan.spec.wanted.max(1) - 1)
        };
        self.all().map(range).collect::<Vec<_>>().join(", ")
    }
}
