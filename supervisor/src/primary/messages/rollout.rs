//! The sentences about a rollout under way, and what is done with it.

use std::time::Duration;

use super::pools::{name, of_pool};
use crate::base::time::Time;
use crate::primary::jobs::state::{Course, Rollout};
use crate::primary::plan::Plan;
use crate::primary::slots::pools::Pools;
use crate::primary::text::{count, long_span};

pub(in crate::primary) const ABORTED: &str = "it was aborted by a request";

/// How far a rollout is.
pub(in crate::primary) fn rolling(rollout: &Rollout, now: Time) -> String {
    let to = rollout.leading(&rollout.to);
    let subject = format!("{}generation {}", of_pool(to), to.generation);
    match (&rollout.course, rollout.pause) {
        (Course::Back { .. }, _) => format!("{subject} is rolled back"),
        (Course::Opening | Course::Forward | Course::Shrinking, None) => {
            format!("{subject} takes over")
        }
        (Course::Opening | Course::Forward | Course::Shrinking, Some(pause)) => {
            let rest = long_span(pause.until.since(now));
            format!("{subject} is paused {}, and is rolled back in {rest}", reached(rollout))
        }
    }
}

/// `after 1 of 3 slots`
fn reached(rollout: &Rollout) -> String {
    format!("after {} of {}", rollout.replaced, count(rollout.slots(), "slot"))
}

/// It is the answer to the client, too.
pub(in crate::primary) fn paused(serving: &Pools, rollout: &Rollout, within: Duration) -> String {
    let to = rollout.leading(&rollout.to);
    let name = name(serving);
    format!(
        "{name}: {}generation {} is paused {}; \"supervisor rollout resume {name}\" goes on, and \
         after {} it is rolled back",
        of_pool(to),
        to.generation,
        reached(rollout),
        long_span(within),
    )
}

pub(in crate::primary) fn resumed(serving: &Pools, rollout: &Rollout) -> String {
    let to = rollout.leading(&rollout.to);
    let (name, pool) = (name(serving), of_pool(to));
    format!("{name}: {pool}generation {} goes on {}", to.generation, reached(rollout))
}

pub(in crate::primary) fn paused_too_long(lasted: Duration) -> String {
    format!("it was paused for {} and nobody resumed it", long_span(lasted))
}

pub(in crate::primary) fn no_rollout(plan: &Plan) -> String {
    format!("{} has no rollout under way", name(plan))
}

pub(in crate::primary) fn rollout_is_to_come(plan: &Plan) -> String {
    let name = name(plan);
    format!("{name} has no rollout under way yet: its new configuration is being read; try again")
}

pub(in crate::primary) fn is_not_paused(plan: &Plan) -> String {
    format!("the rollout of {} is not paused", name(plan))
}

pub(in crate::primary) fn goes_back_already(plan: &Plan) -> String {
    format!("the rollout of {} is being rolled back already", name(plan))
}

pub(in crate::primary) fn serves_already(plan: &Plan, to: &Plan) -> String {
    format!(
        "generation {} of {} serves already; reload with the earlier configuration to go back",
        to.generation,
        name(plan)
    )
}

/// Why a change is refused while a rollout is paused.
pub(in crate::primary) fn is_paused(plan: &Plan) -> String {
    let name = name(plan);
    format!(
        "a rollout of {name} is paused: use \"supervisor rollout resume {name}\" or \"supervisor \
         rollout abort {name}\" first"
    )
}
