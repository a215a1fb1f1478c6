//! How often others wanted the CPU that this process was using (getrusage(2)).

use nix::sys::resource::{UsageWho, getrusage};

/// So many times the kernel gave the CPU to somebody else while we still wanted it.
pub(crate) fn times_preempted() -> i64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.involuntary_context_switches())
}
