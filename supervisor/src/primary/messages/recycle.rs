//! The sentences about workers that are replaced because they reached a limit.

use std::time::Duration;

use config::spec::RestartPolicy;

use crate::primary::messages::probes;
use crate::primary::text::{count, size, span};
use crate::primary::worker::Worker;
use crate::primary::worker::limits::Excess;

/// What the worker has reached.
pub(in crate::primary) fn excess(excess: &Excess) -> String {
    match excess {
        Excess::Age { limit } => {
            let limit = Duration::from_secs(limit.as_secs());
            format!("it has been ready for {}, its limit", humantime::format_duration(limit))
        }
        Excess::Liveness { failures } => {
            format!("liveness failed {} in a row", count(u32::from(*failures), "time"))
        }
        Excess::Connections { count: accepted, limit } => {
            format!("it has accepted {accepted} connections, its limit is {limit}")
        }
        Excess::Memory { bytes, growth, limit } if bytes < limit => format!(
            "its resident memory (RSS) is {} and grows by {}/s, its limit is {}",
            size(*bytes),
            size(*growth),
            size(*limit)
        ),
        Excess::Memory { bytes, limit, .. } => {
            format!("its resident memory (RSS) is {}, its limit is {}", size(*bytes), size(*limit))
        }
    }
}

pub(in crate::primary) fn is_recycled(worker: &Worker, excess: &Excess) -> String {
    let why = match excess {
        Excess::Liveness { .. } => probes::failed("liveness", &worker.liveness),
        Excess::Age { .. } | Excess::Connections { .. } | Excess::Memory { .. } => {
            self::excess(excess)
        }
    };
    format!("is replaced as soon as its successor is ready: {why}")
}

pub(in crate::primary) fn budget_spent(budget: u16, excess: &Excess) -> String {
    let workers = count(u32::from(budget), "worker");
    format!(
        "cannot be replaced yet, because {workers} were within the last minute (recycle_budget): \
         {}",
        self::excess(excess)
    )
}

pub(in crate::primary) fn recycling_does_not_help(
    times: u32,
    policy: &RestartPolicy,
    excess: &Excess,
) -> String {
    let (what, cure) = match excess {
        Excess::Liveness { .. } => {
            ("a new worker does not help", "look why the probe fails, or correct it")
        }
        Excess::Age { .. } | Excess::Connections { .. } | Excess::Memory { .. } => {
            ("its memory grows faster than recycling helps", "raise max_memory, or find the leak")
        }
    };
    format!(
        "{what}: its slot was recycled {} within {} (max_restarts, restart_window), and {}; {cure}",
        count(times, "time"),
        span(policy.window),
        self::excess(excess)
    )
}

pub(in crate::primary) fn recycle_failed(why: &str, delay: Duration) -> String {
    let delay = span(delay);
    format!("did not take over, and the old worker serves on; tried again in {delay}: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_and_the_kind_of_memory_are_named() {
        let mib = 1 << 20;
        let above = Excess::Memory { bytes: 214 * mib, growth: 0, limit: 200 * mib };
        assert_eq!(excess(&above), "its resident memory (RSS) is 214 MiB, its limit is 200 MiB");
        let ahead = Excess::Memory { bytes: 190 * mib, growth: 20 * mib, limit: 200 * mib };
        let expected =
            "its resident memory (RSS) is 190 MiB and grows by 20 MiB/s, its limit is 200 MiB";
        assert_eq!(excess(&ahead), expected);
        let age = Excess::Age { limit: Duration::from_secs(3) };
        assert_eq!(excess(&age), "it has been ready for 3s, its limit");
    }
}
