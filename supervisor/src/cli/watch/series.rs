//! What was measured, and how fast counters grow.

use std::collections::{BTreeMap, VecDeque};

use ipc::control::WorkerStatus;

/// Samples that a series keeps. With a sample each second, this is five minutes.
const MAX_SAMPLES: usize = 300;

/// The latest samples of one value. `None`: it was not known then.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series {
    samples: VecDeque<Option<f64>>,
}

impl Series {
    /// Adds a sample; the oldest goes when there are 300.
    pub(crate) fn push(&mut self, value: Option<f64>) {
        if self.samples.len() == MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(value);
    }

    /// The latest sample.
    pub(crate) fn latest(&self) -> Option<f64> {
        self.samples.back().copied().flatten()
    }

    /// At most `count` of the latest samples, oldest first.
    pub(crate) fn last(&self, count: usize) -> impl Iterator<Item = Option<f64>> {
        self.samples.iter().skip(self.samples.len().saturating_sub(count)).copied()
    }
}

/// The counters of the workers at the last look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rates {
    at_ms: u64,
    accepted: BTreeMap<(u16, Option<u32>), u64>,
}

impl Rates {
    /// Connections that each worker accepted per second since the last look, in their order. `None`
    /// if the supervisor does not count them, or if the worker was not there at the last look.
    pub(crate) fn update(&mut self, workers: &[WorkerStatus], at_ms: u64) -> Vec<Option<f64>> {
        let seconds = at_ms.saturating_sub(self.at_ms) as f64 / 1000.0;
        let mut now = BTreeMap::new();
        let mut rates = Vec::with_capacity(workers.len());
        for worker in workers {
            // A pid is a worker's for longer than the second between two looks.
            let key = (worker.slot, worker.pid);
            let before = self.accepted.get(&key).copied();
            rates.push(match (before, worker.accepted) {
                (Some(before), Some(accepted)) if seconds > 0.0 => {
                    Some(accepted.saturating_sub(before) as f64 / seconds)
                }
                _ => None,
            });
            now.extend(worker.accepted.map(|accepted| (key, accepted)));
        }
        *self = Self { at_ms, accepted: now };
        rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::targets::fake_primary as fake;
    use ipc::control::Status;

    #[test]
    fn a_series_is_bounded() {
        let mut series = Series::default();
        assert_eq!(series.latest(), None);
        for value in 0..1000 {
            series.push(Some(f64::from(value)));
        }
        assert_eq!(series.last(2000).count(), MAX_SAMPLES);
        assert_eq!(series.last(2).collect::<Vec<_>>(), [Some(998.0), Some(999.0)]);
        series.push(None);
        assert_eq!(series.latest(), None);
    }

    #[test]
    fn a_rate_is_of_one_worker() {
        let mut worker = fake::status("web", Status::Ready).workers.remove(0);
        let mut rates = Rates::default();
        worker.accepted = Some(100);
        assert_eq!(rates.update(std::slice::from_ref(&worker), 1000), [None]);
        worker.accepted = Some(150);
        assert_eq!(rates.update(std::slice::from_ref(&worker), 1500), [Some(100.0)]);
        worker.pid = Some(77);
        worker.accepted = Some(9);
        assert_eq!(rates.update(std::slice::from_ref(&worker), 2500), [None], "a successor");
        worker.accepted = None;
        assert_eq!(rates.update(&[worker], 3500), [None]);
    }
}
