//! What the probes say of a worker: results in a row become a verdict.
//!
//! A result that says nothing of the worker (the probe could not be made) is no failure: it opens
//! the gate of a starting worker, takes none out of steering and replaces none.

use config::spec::ProbeSpec;
use serde::{Deserialize, Serialize};

use crate::primary::event::ProbeResult;

/// The results of one probe of one worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::primary) struct Health {
    pub(in crate::primary) verdict: Verdict,
    /// Failures in a row.
    pub(in crate::primary) failures: u16,
    /// Successes in a row.
    successes: u16,
    /// What the last result says, unless it was a success.
    pub(in crate::primary) why: Option<String>,
}

/// What the results mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::primary) enum Verdict {
    /// Too few results yet.
    #[default]
    Open,
    /// The probe cannot be made.
    Unknown,
    Passes,
    Fails,
}

impl Health {
    /// Takes a result in. Returns whether the verdict is another one now.
    pub(in crate::primary) fn take(&mut self, result: ProbeResult, probe: &ProbeSpec) -> bool {
        let before = self.verdict;
        match result {
            ProbeResult::Passed => {
                (self.failures, self.why) = (0, None);
                self.successes = self.successes.saturating_add(1);
                if self.successes >= probe.successes {
                    self.verdict = Verdict::Passes;
                }
            }
            ProbeResult::Failed(why) => {
                (self.successes, self.why) = (0, Some(why));
                self.failures = self.failures.saturating_add(1);
                if self.failures >= probe.failures {
                    self.verdict = Verdict::Fails;
                }
            }
            ProbeResult::Unknown(why) => {
                *self = Self { verdict: Verdict::Unknown, why: Some(why), ..Self::default() };
            }
        }
        self.verdict != before
    }

    pub(in crate::primary) fn fails(&self) -> bool {
        self.verdict == Verdict::Fails
    }

    /// Whether a worker that starts is held back by it.
    pub(in crate::primary) fn holds_back(&self, probe: &ProbeSpec) -> bool {
        let open = matches!(self.verdict, Verdict::Open | Verdict::Fails);
        probe.ask.is_some() && open
    }

    /// As the status has it.
    pub(in crate::primary) fn shown(&self) -> ipc::worker_status::Health {
        use ipc::worker_status::{Health, HealthVerdict};
        Health {
            verdict: match self.verdict {
                Verdict::Open => HealthVerdict::Open,
                Verdict::Unknown => HealthVerdict::Unknown,
                Verdict::Passes => HealthVerdict::Passes,
                Verdict::Fails => HealthVerdict::Fails,
            },
            failures: self.failures,
            reason: self.why.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use config::spec::ProbeAsk;

    use super::*;

    fn probe() -> ProbeSpec {
        let ask = Some(ProbeAsk::Tcp { port: None });
        ProbeSpec { ask, failures: 3, successes: 2, ..ProbeSpec::default() }
    }

    fn failed() -> ProbeResult {
        ProbeResult::Failed("status 500".to_owned())
    }

    #[test]
    fn results_in_a_row_decide() {
        let (mut health, probe) = (Health::default(), probe());
        assert!(health.holds_back(&probe));
        assert!(!health.take(ProbeResult::Passed, &probe));
        assert!(!health.take(failed(), &probe), "a failure breaks the row");
        assert!(!health.take(ProbeResult::Passed, &probe) && health.holds_back(&probe));
        assert!(health.take(ProbeResult::Passed, &probe) && !health.holds_back(&probe));
        for _ in 0..2 {
            assert!(!health.take(failed(), &probe) && !health.fails());
        }
        assert!(!health.take(ProbeResult::Passed, &probe));
        for _ in 0..2 {
            assert!(!health.take(failed(), &probe));
        }
        assert!(health.take(failed(), &probe) && health.fails());
        assert_eq!((health.failures, health.why.as_deref()), (3, Some("status 500")));
        assert!(!health.take(ProbeResult::Passed, &probe) && health.fails());
        assert!(health.take(ProbeResult::Passed, &probe) && !health.fails());
    }

    #[test]
    fn a_probe_that_cannot_be_made_says_nothing() {
        let (mut health, probe) = (Health::default(), probe());
        for _ in 0..2 {
            health.take(failed(), &probe);
        }
        assert!(health.take(ProbeResult::Unknown("it is gone".to_owned()), &probe));
        assert!(!health.fails() && !health.holds_back(&probe));
        assert!(!health.take(failed(), &probe), "earlier failures do not count any more");
        let none = ProbeSpec::default();
        assert!(!Health::default().holds_back(&none), "no probe is asked for");
    }
}
