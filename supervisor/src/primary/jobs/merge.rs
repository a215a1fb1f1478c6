//! A change waits for its new spec. The runtime merges the change with the spec that stands now and
//! with the app's file; no other change begins meanwhile. So changes that come at once are merged
//! one after the other, each with what the one before left.

use std::sync::Arc;
use std::time::Duration;

use config::change::{SpecChange, keys_that_need_a_reload};
use config::difference::{self, adopt, takes};
use config::keys::Change;
use config::spec::AppSpec;
use ipc::control::{FailureKind, Method, Reply};
use ipc::talk::BusRequest;

use super::state::{Merging, Values};
use super::state::{Pending, Wish};
use crate::base::ids::{ClientId, MergeId};
use crate::primary::action::Action;
use crate::primary::event::Refusal;
use crate::primary::{Primary, Step, messages};

impl Primary {
    pub(in crate::primary) fn begin_merge(
        &mut self,
        change: SpecChange,
        method: Method,
        clients: Vec<ClientId>,
        step: &mut Step<'_>,
    ) {
        self.merges += 1;
        let merge = MergeId(self.merges);
        self.merging = Some(Merging { merge, change, method, clients, shared: None });
        self.merge_again(step);
    }

    /// Orders the merge that is under way, again after a restore.
    pub(in crate::primary) fn merge_again(&self, step: &mut Step<'_>) {
        if let Some(Merging { merge, change, .. }) = &self.merging {
            let running = Arc::clone(self.spec());
            step.act(Action::Merge { merge: *merge, running, change: change.clone() });
        }
    }

    /// Handles the answer to `Action::Merge`: the change goes on as the next request of all.
    pub(in crate::primary) fn merged(
        &mut self,
        merge: MergeId,
        result: Result<Option<Box<AppSpec>>, Refusal>,
        step: &mut Step<'_>,
    ) {
        let Some(merging) = self.merging.take_if(|merging| merging.merge == merge) else { return };
        let Merging { method, clients, shared, .. } = merging;
        let mut spec = match result {
            Ok(spec) => spec,
            Err(Refusal { kind, reason }) => {
                return step.answer_all(&clients, &messages::failed(kind, reason, &[]));
            }
        };
        if let (Some(spec), Some(Values { json })) = (&mut spec, shared) {
            spec.shared = json;
        }
        let (hard, pool) = match method {
            Method::Adopt => return self.adopt_merged(spec, &clients, step),
            Method::SharedValues => return self.share_merged(spec, &clients, step),
            Method::BlueGreen { keep_old_ms } => {
                let keep_old = Duration::from_millis(keep_old_ms);
                let wish = Wish::ReplaceAtOnce { spec, keep_old };
                return self.queue.push_front(Pending { wish, clients });
            }
            Method::Hard => (true, None),
            Method::Rolling { pool } => (false, pool),
        };
        let wish = Wish::Replace { hard, spec, pool };
        self.queue.push_front(Pending { wish, clients });
    }

    /// Takes over from the merged spec what no worker depends on, if nothing needs a rollout.
    fn adopt_merged(
        &mut self,
        merged: Option<Box<AppSpec>>,
        clients: &[ClientId],
        step: &mut Step<'_>,
    ) {
        let Some(merged) = merged else {
            let reason = messages::nothing_to_adopt(&self.serving);
            return step.answer_all(clients, &messages::failed(FailureKind::Usage, reason, &[]));
        };
        let changes = difference::between(self.spec(), &merged);
        if takes(&changes) > Some(Change::Scale) {
            let reason = messages::needs_a_reload(&self.serving, &changes);
            return step.answer_all(clients, &messages::failed(FailureKind::Usage, reason, &[]));
        }
        let mut app = AppSpec::clone(self.spec());
        adopt(&mut app, &merged);
        self.serving.app = self.edited(self.serving.app.clone(), Arc::new(app));
        for (pool_index, plan) in self.serving.pools.clone() {
            let mut spec = AppSpec::clone(&plan.spec);
            let pool = merged.pools.iter().find(|pool| pool.name == spec.pool());
            spec.instances = pool.map_or(spec.instances, |pool| pool.instances);
            let plan = self.edited(plan, Arc::new(spec));
            self.serving.pools.insert(pool_index, plan);
        }
        step.answer_all(clients, &Reply::done(messages::adopted(&self.serving)));
    }

    /// Gives the workers the shared values of the merged spec, if nothing else has changed.
    fn share_merged(
        &mut self,
        merged: Option<Box<AppSpec>>,
        clients: &[ClientId],
        step: &mut Step<'_>,
    ) {
        let refuse = |reason, step: &mut Step<'_>| {
            step.answer_all(clients, &messages::failed(FailureKind::Usage, reason, &[]));
        };
        let Some(merged) = merged else {
            return refuse(messages::no_values_without_a_file(&self.serving), step);
        };
        let (shared, source) = (merged.shared.clone(), merged.source.clone());
        let others = keys_that_need_a_reload(self.spec(), *merged);
        if !others.is_empty() {
            let file = source.map(|file| file.display().to_string()).unwrap_or_default();
            return refuse(messages::more_has_changed(&self.serving, &file, &others), step);
        }
        self.share(shared.as_deref());
        for client in clients {
            let request = BusRequest::Share { shared: shared.clone() };
            step.act(Action::Bus { client: *client, request });
        }
    }
}
