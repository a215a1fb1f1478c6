//! Scaling: more slots, all started at once, or fewer, all drained at once.

use std::sync::Arc;

use config::spec::{AppSpec, Instances};
use ipc::control::{FailureKind, NoticeKind, Reply};
use serde::{Deserialize, Serialize};

use super::ids::{ClientId, Slot};
use super::start::Outlook;
use super::time::Time;
use super::{Job, Primary, Step, words};

/// A change of the number of workers under way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Scaling {
    pub(super) clients: Vec<ClientId>,
    /// The number before.
    from: u16,
    direction: Direction,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Direction {
    /// The new ones are waited for until then.
    Up {
        until: Time,
    },
    Down,
}

impl Scaling {
    pub(super) fn until(&self) -> Option<Time> {
        match self.direction {
            Direction::Up { until } => Some(until),
            Direction::Down => None,
        }
    }
}

impl Primary {
    pub(super) fn begin_scale(
        &mut self,
        wanted: u16,
        because: String,
        clients: Vec<ClientId>,
        step: &mut Step<'_>,
    ) {
        let from = self.serving.spec.wanted;
        if wanted == from {
            let message = words::scaled_already(&self.serving);
            step.answer_all(&clients, &Reply::Done { message });
            return;
        }
        self.set_wanted(wanted, because);
        step.publish(words::general(NoticeKind::Scaled, words::scaling(from, wanted)));
        let plan = self.serving.clone();
        let direction = if wanted > from {
            self.add_slots(wanted, &plan);
            Direction::Up { until: step.now + plan.patience() }
        } else {
            self.dismiss(wanted, step);
            Direction::Down
        };
        self.job = Some(Job::Scale(Scaling { clients, from, direction }));
    }

    fn set_wanted(&mut self, wanted: u16, because: String) {
        let because = if because.is_empty() { format!("{wanted} asked for") } else { because };
        let before = &self.serving.spec;
        let spec = Arc::new(AppSpec {
            wanted,
            wanted_because: because,
            // What the file asks for: a reload with another number there is another wish.
            instances: match before.source {
                Some(_) => before.instances,
                None => Instances::Count(wanted),
            },
            ..AppSpec::clone(before)
        });
        self.serving = self.edited(self.serving.clone(), spec);
        for state in self.slots.values_mut() {
            state.plan = self.serving.clone();
        }
    }

    pub(super) fn advance_scale(&mut self, step: &mut Step<'_>) -> bool {
        let Some(Job::Scale(scaling)) = &self.job else { return false };
        let reply = match scaling.direction {
            Direction::Down if self.anyone_retires() => return false,
            Direction::Down => Reply::Done { message: words::scaled(&self.serving) },
            Direction::Up { until } => match self.outlook(Slot(scaling.from)) {
                Outlook::Ready => Reply::Done { message: words::scaled(&self.serving) },
                Outlook::Failed { reason, last_lines } => {
                    words::failed(FailureKind::Failed, reason, &last_lines)
                }
                Outlook::Open if until <= step.now => {
                    words::failed(FailureKind::TimedOut, words::scale_timed_out(&self.serving), &[])
                }
                Outlook::Open => return false,
            },
        };
        if let Some(Job::Scale(scaling)) = self.job.take() {
            step.answer_all(&scaling.clients, &reply);
        }
        true
    }
}
