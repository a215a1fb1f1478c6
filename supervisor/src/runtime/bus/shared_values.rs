//! The values that all workers of an app share. `policy::shared_values` decides which version each
//! worker has, and who has waited long enough for the workers' responses; here that is carried out.
//! What the workers said is shown in the status.

use std::sync::Arc;

use config::spec::AppSpec;

use super::Bus;
use crate::base::ids::{ClientId, Generation, WorkerId};
use crate::base::per_generation::PerGeneration;
use crate::policy::shared_values::{Action, Event, Holder};
use crate::primary::event::Cue;
use crate::runtime::context::Context;
use crate::runtime::control::Clients;
use crate::runtime::snapshot::pieces::Children;
use crate::runtime::workers::Child;
use crate::sys::clock;

impl Bus {
    /// Gives the workers new values, if these specs of the generations have any.
    pub(in crate::runtime) fn share(
        &mut self,
        clients: &mut Clients,
        at: &mut Context<'_>,
        specs: PerGeneration<Arc<AppSpec>>,
    ) {
        let seen = self.shared.seen.as_ref().map(|seen| seen.map(Arc::as_ptr));
        if seen == Some(specs.map(Arc::as_ptr)) {
            return;
        }
        self.step_shared(clients, at, Event::Specs(specs.map(|spec| spec.shared.as_deref())));
        self.shared.seen = Some(specs);
    }

    /// A worker said whether it applies the values.
    pub(super) fn take_applied(
        &mut self,
        clients: &mut Clients,
        at: &mut Context<'_>,
        worker: WorkerId,
        version: u64,
        error: Option<String>,
    ) {
        let Some(child) = at.children.get(&worker) else { return };
        let generation = child.generation;
        self.step_shared(clients, at, Event::Responded { worker, generation, version, error });
    }

    /// A worker is gone.
    pub(super) fn forget_shared(
        &mut self,
        clients: &mut Clients,
        at: &mut Context<'_>,
        worker: WorkerId,
    ) {
        self.step_shared(clients, at, Event::Gone { worker });
    }

    /// A line for people on each version that workers have.
    pub(in crate::runtime) fn shared_notes(&self, children: &Children) -> Vec<String> {
        self.shared.policy.notes(&self.holders(children))
    }

    /// A line for people on the limits among the values.
    pub(in crate::runtime) fn limits_note(&self) -> Option<String> {
        self.shared.policy.versions().serving.limits().note()
    }

    /// How many connections a worker of this generation may have at a time.
    pub(in crate::runtime) fn most_connections(&self, generation: Generation) -> Option<u32> {
        self.shared.policy.versions().of(generation).limits().connections
    }

    /// A client has given new values, which [`Bus::share`] knows, and waits for what the workers
    /// say to them.
    pub(in crate::runtime) fn await_shared(
        &mut self,
        clients: &mut Clients,
        at: &mut Context<'_>,
        client: ClientId,
    ) {
        self.step_shared(clients, at, Event::Asked { client });
        self.answer_shared(clients, at);
    }

    /// Answers the clients that need not wait any longer.
    pub(super) fn answer_shared(&mut self, clients: &mut Clients, at: &mut Context<'_>) {
        if self.shared.policy.is_awaited() {
            let workers = self.holders(at.children);
            self.step_shared(clients, at, Event::Turn { workers: &workers });
        }
    }

    /// The workers that live.
    fn holders(&self, children: &Children) -> Vec<Holder> {
        let live = children.values().filter(|child| child.ended.is_none() && !child.is_hook);
        let holder = |child: &Child| Holder {
            worker: child.id,
            slot: child.slot,
            generation: child.generation,
            on_bus: self.relay.codec(child.id).is_some(),
        };
        live.map(holder).collect()
    }

    fn step_shared(&mut self, clients: &mut Clients, at: &mut Context<'_>, event: Event<'_>) {
        let mut actions = Vec::new();
        self.shared.policy.step(clock::now(), event, &mut actions);
        for action in actions {
            match action {
                Action::Configure => self.configure(at),
                Action::Refused { worker, version, reason } => {
                    report_refusal(at, worker, version, reason);
                }
                Action::Answer { client, reply } => clients.give(at, client, &reply),
            }
        }
    }

    fn configure(&mut self, at: &mut Context<'_>) {
        *at.stale = true;
        let mut actions = Vec::new();
        self.relay.configure(self.shared.for_relay(), &mut actions);
        self.actions.extend(actions);
    }
}

fn report_refusal(at: &mut Context<'_>, worker: WorkerId, version: u64, reason: String) {
    let Some(child) = at.children.get(&worker) else { return };
    let (slot, pid) = (child.slot, child.pid.0);
    at.warn(format!(
        "slot {slot} (pid {pid}) did not apply version {version} of the shared values: {reason}"
    ));
    at.cue(worker, Cue::RefusesValues { reason });
}
