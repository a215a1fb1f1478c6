//! New values for the workers to share. They replace the old values in the plans that serve, that
//! are coming in, and that wait. No worker is replaced for them, because no worker starts with
//! them.

use std::sync::Arc;

use config::spec::AppSpec;

use super::state::Wish;
use crate::primary::plan::Plan;
use crate::primary::{Job, Primary};

impl Primary {
    pub(in crate::primary) fn share(&mut self, shared: Option<&str>) {
        let changed = |plan: &Plan| {
            let spec = AppSpec::clone(&plan.spec);
            let is_news = spec.shared.as_deref() != shared;
            is_news.then(|| Arc::new(AppSpec { shared: shared.map(str::to_owned), ..spec }))
        };
        let Self { serving, warm, job, editions, .. } = self;
        let warm = warm.as_mut().map(|warm| &mut warm.planned);
        let coming = job.as_mut().and_then(Job::planned_mut);
        for planned in std::iter::once(serving).chain(warm).chain(coming) {
            if let Some(spec) = changed(&planned.app) {
                *editions += 1;
                (planned.app.edition, planned.app.spec) = (*editions, spec);
            }
        }
        if let Some(merging) = &mut self.merging {
            merging.share(shared);
        }
        for pending in &mut self.queue {
            match &mut pending.wish {
                Wish::Replace { spec: Some(spec), .. }
                | Wish::ReplaceAtOnce { spec: Some(spec), .. } => {
                    spec.shared = shared.map(str::to_owned);
                }
                Wish::Replace { spec: None, .. }
                | Wish::ReplaceAtOnce { spec: None, .. }
                | Wish::Rollback
                | Wish::ReplaceWorker { .. }
                | Wish::Configure { .. }
                | Wish::Scale { .. } => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ipc::control::Request;
    use ipc::talk::BusRequest;

    use super::*;
    use crate::base::ids::ClientId;
    use crate::base::time::Time;
    use crate::primary::action::Action;
    use crate::primary::event::Event;

    #[test]
    fn new_values_survive_a_reload_that_is_under_way() {
        let spec = AppSpec::new("web", vec!["true".to_owned()], "/".into());
        let mut primary = Primary::new(Arc::new(spec.clone()), 1);
        let mut actions = Vec::new();
        primary.step(Time(0), Event::Begin, &mut actions);
        let ask = |client, request| Event::Request { client: ClientId(client), request };
        let older = AppSpec { shared: Some("{\"limit\":1}".to_owned()), ..spec };
        let reload = Request::Reload { spec: Some(Box::new(older)), pool: None };
        primary.step(Time(1), ask(1, reload), &mut actions);
        let shared = Some("{\"limit\":2}".to_owned());
        let share = BusRequest::Share { shared: shared.clone() };
        primary.step(Time(2), ask(2, Request::Bus(share.clone())), &mut actions);
        assert_eq!(primary.spec().shared, shared);
        let coming = match &primary.job {
            Some(Job::Rollout(rollout)) => rollout.to.spec.shared.clone(),
            _ => match &primary.queue.front().unwrap().wish {
                Wish::Replace { spec, .. } => spec.as_ref().unwrap().shared.clone(),
                Wish::ReplaceAtOnce { .. }
                | Wish::Rollback
                | Wish::ReplaceWorker { .. }
                | Wish::Configure { .. }
                | Wish::Scale { .. } => None,
            },
        };
        assert_eq!(coming, shared);
        let told = |action: &Action| matches!(action, Action::Bus { client: ClientId(2), request } if *request == share);
        assert!(actions.iter().any(told), "{actions:?}");
    }
}
