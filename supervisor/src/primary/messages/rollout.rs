//! The sentences about a rollout under way, and what is done with it.

use std::time::Duration;

use super::pools::{name, of_pool};
use crate::base::time::Time;
use crate::primary::jobs::state::{Course, Rollout};
use crate::primary::plan::Plan;
use crate::primary::slots::pools::Pools;
use crate::primary::text::{count, long_span};

pub(in crate::primary) const ABORTED: &str = "it was aborted by a request";

pub(in crate::primary) const ASKED_BACK: &str = "a request asked for that";

/// How far a rollout is.
pub(in crate::primary) fn rolling(rollout: &Rollout, now: Time) -> String {
    let subject = subject(rollout);
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

/// `generation 2`, and of which pool.
fn subject(rollout: &Rollout) -> String {
    let to = rollout.leading(&rollout.to);
    format!("{}generation {}", of_pool(to), to.generation)
}

/// `after 1 of 3 slots`
fn reached(rollout: &Rollout) -> String {
    format!("after {} of {}", rollout.replaced, count(rollout.slots(), "slot"))
}

/// It is the answer to the client, too.
pub(in crate::primary) fn paused(serving: &Pools, rollout: &Rollout, within: Duration) -> String {
    let name = name(serving);
    format!(
        "{name}: {} is paused {}; \"supervisor rollout resume {name}\" goes on, and after {} it is \
         rolled back",
        subject(rollout),
        reached(rollout),
        long_span(within),
    )
}

pub(in crate::primary) fn resumed(serving: &Pools, rollout: &Rollout) -> String {
    format!("{}: {} goes on {}", name(serving), subject(rollout), reached(rollout))
}

/// What an abort that came too late for some slots answers.
pub(in crate::primary) fn not_everywhere(rolled_back: &str) -> String {
    format!("{rolled_back}, but not in every slot: the old code does not become ready there")
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

/// Why a whole generation cannot be kept from serving beside the other one.
pub(in crate::primary) fn cannot_switch(address: &str) -> String {
    format!(
        "all workers share the socket of {address}, so the new ones would serve before the switch; \
         reload without --strategy blue-green"
    )
}

pub(in crate::primary) fn switched(serving: &Pools, to: &Plan, slots: u32) -> String {
    format!(
        "{}: all new connections go to generation {} from now on, in {}",
        name(serving),
        to.generation,
        count(slots, "slot")
    )
}

pub(in crate::primary) fn stays_warm(serving: &Pools, warm: &Plan, rest: Duration) -> String {
    format!(
        "; generation {} stays for {}: \"supervisor rollback {}\" switches back to it",
        warm.generation,
        long_span(rest),
        name(serving)
    )
}

pub(in crate::primary) fn warm_note(serving: &Pools, warm: &Plan) -> String {
    format!(
        "the workers of generation {} stay without new connections: \"supervisor rollback {}\" \
         switches back to them",
        warm.generation,
        name(serving)
    )
}

pub(in crate::primary) fn warm_worker_ended(place: &str, why: &str) -> String {
    format!("its worker in {place} ended: {why}")
}

pub(in crate::primary) fn probe_of_warm_fails(place: &str) -> String {
    format!("the probes of its worker in {place} fail")
}

/// Why the workers that stayed are let go.
pub(in crate::primary) fn cools(warm: &Plan, why: &str) -> String {
    format!("generation {} stays no longer: {why}", warm.generation)
}

pub(in crate::primary) fn nothing_is_warm(serving: &Pools, cooled: Option<&str>) -> String {
    let name = name(serving);
    match cooled {
        Some(why) => format!("cannot roll {name} back: {why}"),
        None => format!(
            "cannot roll {name} back: no earlier generation of it stays; reload with --strategy \
             blue-green and --keep-old to keep one"
        ),
    }
}

pub(in crate::primary) fn cannot_go_back_now(serving: &Pools, warm: &Plan, why: &str) -> String {
    format!(
        "cannot roll {} back now: {why}; generation {} stays, so try again when they pass",
        name(serving),
        warm.generation
    )
}

pub(in crate::primary) fn roll_out_is_under_way(serving: &Pools) -> String {
    let name = name(serving);
    format!(
        "cannot roll {name} back while a reload is under way; \"supervisor rollout abort {name}\" \
         does that"
    )
}
