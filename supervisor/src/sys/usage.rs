//! How often the kernel took the CPU away from this process (getrusage(2)).

use nix::sys::resource::{UsageWho, getrusage};

/// How often the kernel gave the CPU to another process while this one still wanted it.
pub(crate) fn times_preempted() -> i64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.involuntary_context_switches())
}
