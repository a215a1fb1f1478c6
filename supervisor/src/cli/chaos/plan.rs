//! Which fault comes when. Pure: the same seed and the same faults give the same plan.

use std::time::Duration;

use fastrand::Rng;

use super::fault::Fault;

/// The pause before a step, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 200..900;
/// When the second blow of a step comes after the first, in milliseconds.
const DELAY_MS: std::ops::Range<u64> = 20..1800;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) fault: Fault,
    /// Load without a fault before it.
    pub(super) pause: Duration,
    /// For a step of two blows: how long after the first the second comes. For a worker that is
    /// stopped: for how long.
    pub(super) delay: Duration,
    /// Chooses the worker.
    pick: u32,
}

impl Step {
    /// One of `count` things; `None` if there is none.
    pub(super) fn choose(&self, count: usize) -> Option<usize> {
        (self.pick as usize).checked_rem(count)
    }
}

/// The steps, without an end. Each kind of fault comes once before any comes again.
#[derive(Debug)]
pub(super) struct Plan {
    random: Rng,
    faults: Vec<Fault>,
    /// Those that have not come in this round.
    left: Vec<Fault>,
}

impl Plan {
    /// The plan of this seed with these faults.
    pub(super) fn new(seed: u64, faults: &[Fault]) -> Self {
        let mut faults = faults.to_vec();
        faults.sort_unstable();
        faults.dedup();
        Self { random: Rng::with_seed(seed), faults, left: Vec::new() }
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.left.is_empty() {
            self.left.clone_from(&self.faults);
            self.random.shuffle(&mut self.left);
        }
        let fault = self.left.pop()?;
        Some(Step {
            fault,
            pause: Duration::from_millis(self.random.u64(PAUSE_MS)),
            delay: Duration::from_millis(self.random.u64(DELAY_MS)),
            pick: self.random.u32(..),
        })
    }
}

/// How many workers may be killed within a window of the restart policy: half of what makes the
/// primary give a worker up, since a worker may also die by itself.
pub(super) fn kills_within_window(max_restarts: u16) -> usize {
    usize::from(max_restarts / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_the_plan() {
        let faults: Vec<Fault> = Fault::all().collect();
        let steps = |seed, faults: &[Fault]| Plan::new(seed, faults).take(50).collect::<Vec<_>>();
        assert_eq!(steps(7, &faults), steps(7, &faults));
        assert_ne!(steps(7, &faults), steps(8, &faults));
        let mut turned = faults.clone();
        turned.reverse();
        turned.push(Fault::Scale);
        assert_eq!(steps(7, &faults), steps(7, &turned), "the order of --only does not matter");
    }

    #[test]
    fn every_fault_comes_before_one_comes_again() {
        let faults: Vec<Fault> = Fault::all().collect();
        let steps: Vec<Step> = Plan::new(3, &faults).take(2 * faults.len()).collect();
        for round in steps.chunks(faults.len()) {
            let mut seen: Vec<Fault> = round.iter().map(|step| step.fault).collect();
            seen.sort_unstable();
            assert_eq!(seen, faults);
        }
        assert!(steps.iter().all(|step| step.pause >= Duration::from_millis(PAUSE_MS.start)));
    }

    #[test]
    fn without_faults_there_is_no_step_and_without_workers_no_choice() {
        assert_eq!(Plan::new(1, &[]).next(), None);
        let step = Plan::new(1, &[Fault::Reload]).next().unwrap();
        assert_eq!(step.choose(0), None);
        assert!(step.choose(3).unwrap() < 3);
        assert_eq!(kills_within_window(10), 5);
    }
}
