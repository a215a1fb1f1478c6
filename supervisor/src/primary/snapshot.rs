//! The core as text, and back: what a later primary, perhaps of another build, goes on from.
//!
//! JSON of the core's own types. A field that is not known is passed over and one that is added
//! later needs a default, so that a neighbouring version can read it either way. Whoever changes
//! the meaning of what is there raises [`FORMAT`], and refuses no older one.
//!
//! Specs are large and shared by many workers: each is written once, in a table, and plans name it
//! by its edition.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::spec::AppSpec;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::slots::pools::Pools;
use crate::base::ids::WorkerId;
use crate::primary::plan::Plan;
use crate::primary::{Job, Primary};

/// The newest that this build writes and reads.
const FORMAT: u32 = 2;
/// What it writes where there are no pools: versions that know of none can read it.
const WITHOUT_POOLS: u32 = 1;

/// Why a snapshot state cannot be gone on from.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    /// Not JSON, or not of this form.
    #[error("the snapshot state cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A newer build wrote it.
    #[error(
        "the snapshot state has format {0}, and this version reads formats up to {FORMAT}; use the \
         version that wrote it, or a newer one"
    )]
    Newer(u32),
    /// It speaks of something that it does not hold.
    #[error("the snapshot state contradicts itself: {0}")]
    Broken(String),
}

/// All that is written.
#[derive(Serialize, Deserialize)]
struct Snapshot<Spec, Core> {
    format: u32,
    /// By edition.
    specs: BTreeMap<u32, Spec>,
    core: Core,
}

/// What every version can read of every other's.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

impl Primary {
    /// Everything the core knows, as text. [`Primary::restore`] makes a core of it that does what
    /// this one would.
    pub(crate) fn snapshot(&self) -> serde_json::Result<Box<RawValue>> {
        let specs: BTreeMap<u32, &AppSpec> =
            self.plans().map(|plan| (plan.edition, plan.spec.as_ref())).collect();
        let mut all_pools =
            std::iter::once(&self.serving).chain(self.job.as_ref().and_then(Job::planned));
        let pools = all_pools.any(|planned| !planned.pools.is_empty());
        let format = if pools { FORMAT } else { WITHOUT_POOLS };
        to_raw_value(&Snapshot { format, specs, core: self })
    }

    /// The core that was snapshot. If its process has died, [`Primary::resume`] comes next.
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

    fn plans(&self) -> impl Iterator<Item = &Plan> {
        let slots = self.slots.values().map(|state| &state.plan);
        let workers = self.workers.values().map(|worker| &worker.plan);
        let job = self.job.as_ref().and_then(Job::planned);
        let all_pools = std::iter::once(&self.serving).chain(job);
        all_pools
            .flat_map(|planned| planned.all().map(|(_, plan)| plan))
            .chain(slots)
            .chain(workers)
    }

    fn plans_mut(&mut self) -> impl Iterator<Item = &mut Plan> {
        let slots = self.slots.values_mut().map(|state| &mut state.plan);
        let workers = self.workers.values_mut().map(|worker| &mut worker.plan);
        let job = self.job.as_mut().and_then(Job::planned_mut);
        let all_pools = std::iter::once(&mut self.serving).chain(job);
        all_pools.flat_map(Pools::plans_mut).chain(slots).chain(workers)
    }

    /// What the rest of the core takes for granted.
    fn check(&self) -> Result<(), RestoreError> {
        let broken = |text| Err(RestoreError::Broken(text));
        for (id, worker) in &self.workers {
            if worker.id != *id || *id >= WorkerId(self.next_worker) {
                return broken(format!("worker {id} has a wrong number"));
            }
            if !self.slots.contains_key(&worker.slot) {
                return broken(format!("worker {id} is of slot {}, which is missing", worker.slot));
            }
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
    /// What it brings in.
    pub(super) fn planned(&self) -> Option<&Pools> {
        match self {
            Self::Rollout(rollout) => Some(&rollout.to),
            Self::Hard(hard) => Some(&hard.to),
            Self::Scale(_) => None,
        }
    }

    pub(super) fn planned_mut(&mut self) -> Option<&mut Pools> {
        match self {
            Self::Rollout(rollout) => Some(&mut rollout.to),
            Self::Hard(hard) => Some(&mut hard.to),
            Self::Scale(_) => None,
        }
    }
}
