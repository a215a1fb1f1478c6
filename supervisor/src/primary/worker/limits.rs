//! What a worker that is well may use before it is replaced: memory, time, connections.
//!
//! Each worker draws limits of its own, up to the jitter below those of the configuration, so that
//! workers that started together do not reach them together.

use std::time::Duration;

use config::spec::RecyclePolicy;
use serde::{Deserialize, Serialize};

use crate::base::time::Time;
use crate::primary::event::Used;
use crate::primary::slots::restart_policy::Jitter;

/// The longest start that the growth of memory is projected over.
const AHEAD_AT_MOST: Duration = Duration::from_secs(10);
/// The part of the limit that a projection may anticipate at most: one in this many.
const ANTICIPATED: u64 = 10;
/// Into how many steps the jitter is divided.
const STEPS: u64 = 1000;

/// The limits of one worker. `None`: there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Bytes of resident memory.
    pub(crate) memory: Option<u64>,
    pub(crate) age: Option<Duration>,
    /// Accepted connections.
    pub(crate) connections: Option<u64>,
}

/// The limit that a worker has reached, or the probe that it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::primary) enum Excess {
    Age {
        limit: Duration,
    },
    /// Its liveness failed this often in a row.
    Liveness {
        failures: u16,
    },
    Connections {
        count: u64,
        limit: u64,
    },
    /// `growth`: bytes a second.
    Memory {
        bytes: u64,
        growth: u64,
        limit: u64,
    },
}

impl Excess {
    /// What is replaced first if several workers have reached a limit.
    pub(in crate::primary) fn urgency(&self) -> u8 {
        match self {
            Self::Age { .. } => 0,
            Self::Connections { .. } => 1,
            Self::Memory { .. } => 2,
            Self::Liveness { .. } => 3,
        }
    }

    /// Whether the successor may reach it at once, so that each slot has a limit of its own.
    pub(in crate::primary) fn may_recur(&self) -> bool {
        match self {
            Self::Memory { .. } | Self::Liveness { .. } => true,
            Self::Age { .. } | Self::Connections { .. } => false,
        }
    }
}

impl Limits {
    /// Draws the limits of a worker. `None`: the configuration sets none.
    pub(in crate::primary) fn draw(policy: &RecyclePolicy, dice: &mut Jitter) -> Option<Self> {
        if !policy.is_set() {
            return None;
        }
        let mut lowered = |limit: u64| {
            let share = u64::from(policy.jitter) * (dice.roll() % (STEPS + 1));
            let less = u128::from(limit) * u128::from(share) / u128::from(100 * STEPS);
            (limit > 0).then(|| limit.saturating_sub(u64::try_from(less).unwrap_or(0)).max(1))
        };
        let age = u64::try_from(policy.max_age.as_nanos()).unwrap_or(u64::MAX);
        Some(Self {
            memory: lowered(policy.max_memory),
            age: lowered(age).map(Duration::from_nanos),
            connections: lowered(policy.max_connections),
        })
    }

    /// The limit that this use reaches. Memory counts as it will be when a successor is ready that
    /// `starts` for as long as the worker itself did.
    pub(in crate::primary) fn reached(&self, used: Used, starts: Duration) -> Option<Excess> {
        let Used { memory: bytes, growth, connections } = used;
        let memory = self.memory.filter(|limit| {
            let ahead = u64::try_from(starts.min(AHEAD_AT_MOST).as_millis()).unwrap_or(0);
            let grown = growth.saturating_mul(ahead) / 1000;
            bytes.saturating_add(grown.min(limit / ANTICIPATED)) >= *limit
        });
        let counted = self.connections.zip(connections).filter(|(limit, count)| count >= limit);
        memory
            .map(|limit| Excess::Memory { bytes, growth, limit })
            .or_else(|| counted.map(|(limit, count)| Excess::Connections { count, limit }))
    }

    /// When a worker that was ready then is too old.
    pub(in crate::primary) fn old_at(&self, ready_since: Time) -> Option<Time> {
        self.age.map(|age| ready_since + age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn policy() -> RecyclePolicy {
        RecyclePolicy { max_memory: 100 * MIB, max_connections: 1000, ..RecyclePolicy::default() }
    }

    fn used(memory: u64, growth: u64, connections: u64) -> Used {
        Used { memory: memory * MIB, growth: growth * MIB, connections: Some(connections) }
    }

    #[test]
    fn each_worker_draws_its_own_limits_below_the_configured_ones() {
        let mut dice = Jitter::new(1);
        let drawn: Vec<Limits> =
            (0..200).filter_map(|_| Limits::draw(&policy(), &mut dice)).collect();
        let memory: Vec<u64> = drawn.iter().filter_map(|limits| limits.memory).collect();
        let (least, most) = (*memory.iter().min().unwrap(), *memory.iter().max().unwrap());
        assert!(least >= 90 * MIB && most <= 100 * MIB, "{least} {most}");
        assert!(most - least > 8 * MIB, "they hardly differ: {least} {most}");
        assert!(drawn.iter().all(|limits| limits.age.is_none()));
        let exact = RecyclePolicy { jitter: 0, ..policy() };
        assert_eq!(Limits::draw(&exact, &mut dice).unwrap().connections, Some(1000));
        assert_eq!(Limits::draw(&RecyclePolicy::default(), &mut dice), None);
    }

    #[test]
    fn memory_is_judged_as_it_will_be_when_the_successor_is_ready() {
        let limits = Limits { memory: Some(100 * MIB), age: None, connections: Some(1000) };
        let second = Duration::from_secs(1);
        assert_eq!(limits.reached(used(99, 0, 0), second), None);
        assert!(limits.reached(used(100, 0, 0), second).is_some());
        assert_eq!(limits.reached(used(94, 5, 0), second), None);
        assert!(limits.reached(used(95, 5, 0), second).is_some());
        // A jump while a program warms up is no leak.
        assert_eq!(limits.reached(used(80, 500, 0), second), None);
        let counted = limits.reached(used(1, 0, 1000), second);
        assert_eq!(counted, Some(Excess::Connections { count: 1000, limit: 1000 }));
        let unknown = Used { connections: None, ..used(1, 0, 0) };
        assert_eq!(limits.reached(unknown, second), None);
    }
}
