//! What people are told of pools, and where something failed.

use super::name;
use crate::primary::jobs::rollout::{Failure, Rollout};
use crate::primary::slots::pools::Pools;
use crate::primary::worker::Plan;

pub(in crate::primary) fn no_such_pool(plan: &Plan, pool: &str, known: &str) -> String {
    format!("{} has no pool {pool}; its pools are {known}", name(plan))
}

pub(in crate::primary) fn pool_is_gone(plan: &Plan, pool: &str) -> String {
    format!("the file of {} has no [pool.{pool}] any more; use reload without --pool", name(plan))
}

pub(in crate::primary) fn no_berth(pool: &str) -> String {
    format!("there is no room for the pool {pool} until the workers of others are gone")
}

/// Whose number of workers it is, where it is not simply the app's.
pub(super) fn of_pool(plan: &Plan) -> String {
    plan.spec.pool.as_ref().map_or_else(String::new, |pool| format!("pool {pool}: "))
}

/// `2 asked for; pool hash: max of 4 CPUs`
pub(in crate::primary) fn why_so_many(plan: &Pools) -> String {
    let because = |plan: &Plan| format!("{}{}", of_pool(plan), plan.spec.wanted_because);
    plan.all().map(|(_, plan)| because(plan)).collect::<Vec<_>>().join("; ")
}

pub(in crate::primary) fn scale_too_far(plan: &Plan, most: u16) -> String {
    format!("{}: at most {most} workers are possible", name(plan))
}

pub(in crate::primary) fn turning_back(rollout: &Rollout, failure: &Failure) -> String {
    let Failure { slot, reason, .. } = failure;
    let (generation, place) = (rollout.generation(), rollout.to.place(*slot));
    format!("generation {generation} failed in {place} and is rolled back: {reason}")
}

pub(in crate::primary) fn rolled_back(
    serving: &Pools,
    rollout: &Rollout,
    failure: &Failure,
) -> String {
    let Failure { slot, reason, .. } = failure;
    format!(
        "{}: generation {} was rolled back, generation {} serves: {}: {reason}",
        name(serving),
        rollout.generation(),
        rollout.leading(serving).generation,
        rollout.to.place(*slot)
    )
}
