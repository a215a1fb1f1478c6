//! Scaling: the primary starts all added slots at once, or drains all dropped slots at once.

use std::sync::Arc;

use config::instances::MAX_WORKERS;
use config::spec::{AppSpec, Instances};
use ipc::control::{FailureKind, Notice, NoticeKind, Reply};

use super::blue_green::ANOTHER_CHANGE;
use super::state::Count;
use super::state::Outlook;
use super::state::{Direction, Scaling};
use crate::base::ids::{ClientId, PoolIndex};
use crate::primary::messages;
use crate::primary::{Job, Primary, Step};

impl Primary {
    pub(in crate::primary) fn begin_scale(
        &mut self,
        pool_index: PoolIndex,
        to: Count,
        because: String,
        clients: Vec<ClientId>,
        step: &mut Step<'_>,
    ) {
        let Some(plan) = self.serving.plan(pool_index) else { return };
        let from = plan.spec.wanted;
        let wanted = match to {
            Count::Exactly(wanted) => wanted.min(MAX_WORKERS),
            Count::OneMore => from.saturating_add(1).min(MAX_WORKERS.max(from)),
            Count::OneFewer => from.saturating_sub(1).max(1),
        };
        if wanted == from {
            let message = messages::scaled_already(plan);
            step.answer_all(&clients, &Reply::done(message));
            return;
        }
        self.cool(ANOTHER_CHANGE.to_owned(), step);
        let why = if because.is_empty() { format!("{wanted} asked for") } else { because };
        self.set_wanted(pool_index, wanted, &why);
        let planned = self.serving.clone();
        let plan = planned.plan(pool_index).unwrap_or(&planned);
        let message = messages::scaling(plan, from, wanted);
        // Nobody asked in words: the reason is news.
        let message = if clients.is_empty() { format!("{message}: {why}") } else { message };
        step.publish(Notice::of_app(NoticeKind::Scaled, message));
        let direction = if wanted > from {
            self.add_slots(&planned);
            Direction::Up { until: step.now + planned.patience() }
        } else {
            self.dismiss(&planned, step);
            Direction::Down
        };
        self.job = Some(Job::Scale(Scaling { clients, pool_index, from, direction }));
    }

    fn set_wanted(&mut self, pool_index: PoolIndex, wanted: u16, because: &str) {
        let mut app = AppSpec::clone(&self.serving.spec);
        // The spec keeps the number in the file, so that a reload notices when the file asks for
        // another one; and a range, in which the load goes on to decide.
        let ranges = matches!(app.instances, Instances::Between { .. });
        let kept = app.source.is_some() || ranges;
        let change = |instances: &mut Instances, now: &mut u16, why: &mut String| {
            (*now, *why) = (wanted, because.to_owned());
            *instances = if kept { *instances } else { Instances::Count(wanted) };
        };
        if let Some(plan) = self.serving.pools.get(&pool_index).cloned() {
            let mut spec = AppSpec::clone(&plan.spec);
            change(&mut spec.instances, &mut spec.wanted, &mut spec.wanted_because);
            let mut pools = app.pools.iter_mut();
            if let Some(pool) = pools.find(|pool| pool.name == spec.pool()) {
                change(&mut pool.instances, &mut pool.wanted, &mut pool.wanted_because);
            }
            let plan = self.edited(plan, Arc::new(spec));
            self.serving.pools.insert(pool_index, plan);
        } else {
            change(&mut app.instances, &mut app.wanted, &mut app.wanted_because);
        }
        self.serving.app = self.edited(self.serving.app.clone(), Arc::new(app));
        for (slot, state) in &mut self.slots {
            if let Some(plan) = self.serving.plan_for(*slot) {
                state.plan = plan;
            }
        }
    }

    pub(in crate::primary) fn advance_scale(&mut self, step: &mut Step<'_>) -> bool {
        let Some(Job::Scale(scaling)) = &self.job else { return false };
        let plan = self.serving.plan(scaling.pool_index).unwrap_or(&self.serving);
        let reply = match scaling.direction {
            // Only a client that waits for its reply keeps the job open while workers drain.
            // Without one, the next change begins at once.
            Direction::Down if self.anyone_retires() && !scaling.clients.is_empty() => {
                return false;
            }
            Direction::Down => Reply::done(messages::scaled(plan)),
            Direction::Up { until } => match self
                .outlook(scaling.pool_index.slots_from(scaling.from))
            {
                Outlook::Ready => {
                    let unlike = self.unlike_workers();
                    Reply::done(messages::with_notes(messages::scaled(plan), &unlike))
                }
                Outlook::Failed { reason, last_lines } => {
                    messages::failed(FailureKind::Failed, reason, &last_lines)
                }
                Outlook::Open if until <= step.now => {
                    messages::failed(FailureKind::TimedOut, messages::scale_timed_out(plan), &[])
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
