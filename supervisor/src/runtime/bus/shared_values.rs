//! The values that all workers of an app share. `policy::shared_values` decides which version each
//! worker has, and who has waited long enough for the workers' responses; here that is carried out.
//! What the workers said is shown in the status.

use std::sync::Arc;

use config::spec::AppSpec;
use ipc::bus::Json;

use crate::base::ids::{ClientId, WorkerId};
use crate::base::per_generation::PerGeneration;
use crate::policy::shared_values::{Action, Event, Holder, SharedValues, Version};
use crate::primary::event::Cue;
use crate::relay;
use crate::runtime::Runtime;
use crate::runtime::workers::Child;
use crate::sys::clock;

/// The shared values of an app.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Shared {
    /// The specs whose values the policy knows.
    seen: Option<PerGeneration<Arc<AppSpec>>>,
    pub(in crate::runtime) policy: SharedValues,
}

impl Shared {
    /// As the relay has them.
    pub(in crate::runtime) fn for_relay(&self) -> PerGeneration<relay::Version> {
        self.policy.versions().map(|version: &Version| {
            let data = version.values().and_then(|text| Json::parse(text).ok());
            relay::Version { number: version.number(), data: data.unwrap_or_default() }
        })
    }
}

impl Runtime {
    /// Gives the workers new values, if there are any.
    pub(in crate::runtime) fn share(&mut self) {
        let coming = self.core.coming().map(|(generation, spec)| (generation, spec.clone()));
        let specs = PerGeneration { serving: self.core.spec().clone(), coming };
        let seen = self.bus.shared.seen.as_ref().map(|seen| seen.map(Arc::as_ptr));
        if seen == Some(specs.map(Arc::as_ptr)) {
            return;
        }
        self.step_shared(Event::Specs(specs.map(|spec| spec.shared.as_deref())));
        self.bus.shared.seen = Some(specs);
    }

    /// A worker said whether it applies the values.
    pub(in crate::runtime) fn take_applied(
        &mut self,
        worker: WorkerId,
        version: u64,
        error: Option<String>,
    ) {
        let Some(child) = self.children.get(&worker) else { return };
        let generation = child.generation;
        self.step_shared(Event::Responded { worker, generation, version, error });
    }

    /// A worker is gone.
    pub(in crate::runtime) fn forget_shared(&mut self, worker: WorkerId) {
        self.step_shared(Event::Gone { worker });
    }

    /// A line for people on each version that workers have.
    pub(in crate::runtime) fn shared_notes(&self) -> Vec<String> {
        self.bus.shared.policy.notes(&self.holders())
    }

    /// A line for people on the limits among the values.
    pub(in crate::runtime) fn limits_note(&self) -> Option<String> {
        self.bus.shared.policy.versions().serving.limits().note()
    }

    /// A client has given new values, and waits for what the workers say to them.
    pub(in crate::runtime) fn await_shared(&mut self, client: ClientId) {
        self.share();
        self.step_shared(Event::Asked { client });
        self.answer_shared();
    }

    /// Answers the clients that need not wait any longer.
    pub(in crate::runtime) fn answer_shared(&mut self) {
        if self.bus.shared.policy.is_awaited() {
            let workers = self.holders();
            self.step_shared(Event::Turn { workers: &workers });
        }
    }

    /// The workers that live.
    fn holders(&self) -> Vec<Holder> {
        let live = self.children.values().filter(|child| child.ended.is_none());
        let holder = |child: &Child| Holder {
            worker: child.id,
            slot: child.slot,
            generation: child.generation,
            on_bus: self.bus.relay.codec(child.id).is_some(),
        };
        live.map(holder).collect()
    }

    fn step_shared(&mut self, event: Event<'_>) {
        let mut actions = Vec::new();
        self.bus.shared.policy.step(clock::now(), event, &mut actions);
        for action in actions {
            match action {
                Action::Configure => self.configure_bus(),
                Action::Refused { worker, version, reason } => {
                    self.report_refusal(worker, version, reason);
                }
                Action::Answer { client, reply } => self.answer(client, &reply),
            }
        }
    }

    fn configure_bus(&mut self) {
        self.writer.stale = true;
        let mut actions = Vec::new();
        self.bus.relay.configure(self.bus.shared.for_relay(), &mut actions);
        self.bus.actions.extend(actions);
    }

    fn report_refusal(&mut self, worker: WorkerId, version: u64, reason: String) {
        let Some(child) = self.children.get(&worker) else { return };
        let (slot, pid) = (child.slot, child.pid.0);
        self.warn(format!(
            "slot {slot} (pid {pid}) did not apply version {version} of the shared values: {reason}"
        ));
        self.cue(worker, Cue::RefusesValues { reason });
    }
}
