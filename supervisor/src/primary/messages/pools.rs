//! The sentences about pools, and about the place of a failure.

use ipc::control::{Notice, NoticeKind};

use crate::base::ids::{Generation, Slot};
use crate::primary::plan::Plan;
use crate::primary::slots::pools::Pools;
use crate::primary::text::count;

/// The name of the app, for the beginning of a sentence.
pub(super) fn name(plan: &Plan) -> &str {
    &plan.spec.name
}

pub(in crate::primary) fn no_such_pool(plan: &Plan, pool: &str, known: &str) -> String {
    format!("{} has no pool {pool}; its pools are {known}", name(plan))
}

pub(in crate::primary) fn pool_is_gone(plan: &Plan, pool: &str) -> String {
    format!("the file of {} has no [pool.{pool}] any more; use reload without --pool", name(plan))
}

pub(in crate::primary) fn no_room_for_pool(pool: &str) -> String {
    format!("there is no room for the pool {pool} until the workers of removed pools are gone")
}

/// The prefix that names the pool, if it is not the app's own.
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

/// `place`: the slot that failed, if one did.
pub(in crate::primary) fn turning_back(
    generation: Generation,
    place: Option<&str>,
    reason: &str,
) -> String {
    match place {
        Some(place) => {
            format!("generation {generation} failed in {place} and is rolled back: {reason}")
        }
        None => format!("generation {generation} is rolled back: {reason}"),
    }
}

pub(in crate::primary) fn worker_replacement_started(serving: &Pools, slot: Slot) -> Notice {
    let message = format!("{}: the worker of {} is replaced", name(serving), serving.place(slot));
    Notice::of_app(NoticeKind::ReloadStarted, message)
}

pub(in crate::primary) fn worker_replaced(
    serving: &Pools,
    slot: Slot,
    cut: u32,
    took: &str,
) -> String {
    let done = format!("{}: {} has a new worker after {took}", name(serving), serving.place(slot));
    match cut {
        0 => done,
        _ => format!("{done}; {} cut by the drain timeout", count(cut, "connection")),
    }
}

/// `failed` was rolled back and `serves` serves. `place`: the slot that failed, if one did.
pub(in crate::primary) fn rolled_back(
    serving: &Pools,
    failed: Generation,
    serves: Generation,
    place: Option<&str>,
    reason: &str,
) -> String {
    let place = place.map_or_else(String::new, |place| format!("{place}: "));
    format!(
        "{}: generation {failed} was rolled back, generation {serves} serves: {place}{reason}",
        name(serving),
    )
}
