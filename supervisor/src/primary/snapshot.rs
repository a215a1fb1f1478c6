//! The core as text, and back. A later primary, perhaps of another build, goes on from it.
//!
//! The text is JSON of the core's own types. A reader ignores unknown fields, and a field that is
//! added later needs a default, so that neighbouring versions can read each other. A change of the
//! meaning of a field needs a higher [`FORMAT`]; a version never refuses an older format.
//!
//! Specs are large and many workers share them: the snapshot has each spec once, in a table, and a
//! plan names its spec by edition.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::spec::AppSpec;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::jobs::state::is_blue_green;
use super::slots::pools::Pools;
use crate::base::ids::WorkerId;
use crate::primary::plan::Plan;
use crate::primary::{Job, Primary};

/// The newest format that this build writes and reads.
const FORMAT: u32 = 3;
/// The format that it writes for an app with pools whose generations do not switch at once. Older
/// versions would neither end a generation that stays nor switch.
const WITHOUT_SWITCH: u32 = 2;
/// The format that it writes for an app without pools, which older versions can read too.
const WITHOUT_POOLS: u32 = 1;

/// Why a core cannot be restored from a snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    /// The text is not JSON, or has another shape.
    #[error("the snapshot cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A newer build wrote the snapshot.
    #[error(
        "the snapshot has format {0}, and this version reads formats up to {FORMAT}; use the \
         version that wrote it, or a newer one"
    )]
    Newer(u32),
    /// The snapshot names something that it does not contain.
    #[error("the snapshot contradicts itself: {0}")]
    Broken(String),
}

/// The whole snapshot.
#[derive(Serialize, Deserialize)]
struct Snapshot<Spec, Core> {
    format: u32,
    /// By edition.
    specs: BTreeMap<u32, Spec>,
    core: Core,
}

/// The part that every version can read of every other version.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

impl Primary {
    /// Everything the core knows, as text. [`Primary::restore`] makes a core of it that does what
    /// this one would do.
    pub(crate) fn snapshot(&self) -> serde_json::Result<Box<RawValue>> {
        let specs: BTreeMap<u32, &AppSpec> =
            self.plans().map(|plan| (plan.edition, plan.spec.as_ref())).collect();
        let pools = self.planned().any(|planned| !planned.pools.is_empty());
        let is_new = |job: &Job| matches!(job, Job::Rollout(rollout) if rollout.is_steered());
        let switches = self.warm.is_some()
            || self.job.as_ref().is_some_and(is_new)
            || self.merging.as_ref().is_some_and(|merging| is_blue_green(&merging.method))
            || self.queue.iter().any(|pending| pending.wish.is_of_switch());
        let format = match (switches, pools) {
            (true, _) => FORMAT,
            (false, true) => WITHOUT_SWITCH,
            (false, false) => WITHOUT_POOLS,
        };
        to_raw_value(&Snapshot { format, specs, core: self })
    }

    /// Restores a core. If the process of the old core has died, call [`Primary::resume`] next.
    pub(crate) fn restore(text: &str) -> Result<Self, RestoreError> {
        let Head { format } = serde_json::from_str(text)?;
        if format > FORMAT {
            return Err(RestoreError::Newer(format));
        }
        let Snapshot { specs, mut core, .. }: Snapshot<AppSpec, Self> = serde_json::from_str(text)?;
        let specs: BTreeMap<u32, Arc<AppSpec>> =
            specs.into_iter().map(|(edition, spec)| (edition, Arc::new(spec))).collect();
        for plan in core.plans_mut() {
            let Some(spec) = specs.get(&plan.edition) else {
                return Err(RestoreError::Broken(format!("no spec of edition {}", plan.edition)));
            };
            plan.spec = spec.clone();
        }
        core.check()?;
        Ok(core)
    }

    /// The plans of all pools: those that serve, that are coming in, and that stay warm.
    fn planned(&self) -> impl Iterator<Item = &Pools> {
        let job = self.job.as_ref().and_then(Job::planned);
        let warm = self.warm.as_ref().map(|warm| &warm.planned);
        std::iter::once(&self.serving).chain(job).chain(warm)
    }

    fn plans(&self) -> impl Iterator<Item = &Plan> {
        let slots = self.slots.values().map(|state| &state.plan);
        let workers = self.workers.values().map(|worker| &worker.plan);
        let hooks = self.hooks.plans();
        self.planned()
            .flat_map(|planned| planned.all().map(|(_, plan)| plan))
            .chain(slots)
            .chain(workers)
            .chain(hooks)
    }

    fn plans_mut(&mut self) -> impl Iterator<Item = &mut Plan> {
        let slots = self.slots.values_mut().map(|state| &mut state.plan);
        let workers = self.workers.values_mut().map(|worker| &mut worker.plan);
        let hooks = self.hooks.plans_mut();
        let job = self.job.as_mut().and_then(Job::planned_mut);
        let warm = self.warm.as_mut().map(|warm| &mut warm.planned);
        let all_pools = std::iter::once(&mut self.serving).chain(job).chain(warm);
        all_pools.flat_map(Pools::plans_mut).chain(slots).chain(workers).chain(hooks)
    }

    /// Checks what the rest of the core takes for granted.
    fn check(&self) -> Result<(), RestoreError> {
        let broken = |text| Err(RestoreError::Broken(text));
        for (id, worker) in &self.workers {
            if worker.id != *id || *id >= WorkerId(self.next_worker) {
                return broken(format!("worker {id} has a wrong number"));
            }
            if !self.slots.contains_key(&worker.slot) {
                return broken(format!("worker {id} is of slot {}, which is missing", worker.slot));
            }
            if let Some(hook) = worker.prepares.filter(|hook| !self.hooks.has(*hook)) {
                return broken(format!("worker {id} waits for hook {hook}, which is missing"));
            }
        }
        if let Some(id) = self.hooks.ids().find(|id| *id >= WorkerId(self.next_worker)) {
            return broken(format!("hook {id} has a wrong number"));
        }
        for (slot, state) in &self.slots {
            if let Some(missing) = state.members().find(|id| !self.workers.contains_key(id)) {
                return broken(format!("slot {slot} names worker {missing}, which is missing"));
            }
        }
        Ok(())
    }
}

impl Job {
    /// The pools that the job brings in.
    pub(super) fn planned(&self) -> Option<&Pools> {
        match self {
            Self::Rollout(rollout) => Some(&rollout.to),
            Self::Hard(hard) => Some(&hard.to),
            Self::Scale(_) | Self::Recycle(_) => None,
        }
    }

    pub(super) fn planned_mut(&mut self) -> Option<&mut Pools> {
        match self {
            Self::Rollout(rollout) => Some(&mut rollout.to),
            Self::Hard(hard) => Some(&mut hard.to),
            Self::Scale(_) | Self::Recycle(_) => None,
        }
    }
}
