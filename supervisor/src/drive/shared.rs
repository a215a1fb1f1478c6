//! The values that all workers of an app share: given to them when they join, and again when a
//! reload that changes them is done. What each said to them is shown in the status.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::spec::AppSpec;
use ipc::bus::Json;

use super::Drive;
use crate::primary::ids::WorkerId;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The spec that was looked at last.
    seen: Option<Arc<AppSpec>>,
    version: u64,
    /// What each worker said to this version; an error is why it did not apply it.
    said: BTreeMap<WorkerId, Option<String>>,
}

impl Drive {
    /// Gives the workers new values, if there are any.
    pub(super) fn share(&mut self) {
        let spec = self.core.spec();
        let before = match &self.bus.shared.seen {
            Some(seen) if Arc::ptr_eq(seen, spec) => return,
            Some(seen) => seen.shared.as_deref(),
            None => None,
        };
        let changed = before != spec.shared.as_deref();
        let values = spec.shared.clone();
        self.bus.shared.seen = Some(Arc::clone(spec));
        if !changed {
            return;
        }
        let data = values.and_then(|text| Json::parse(&text).ok()).unwrap_or_default();
        self.bus.shared.version += 1;
        self.bus.shared.said.clear();
        let mut actions = Vec::new();
        self.bus.relay.configure(self.bus.shared.version, data, &mut actions);
        self.bus.actions.extend(actions);
    }

    /// What a worker said to the values.
    pub(super) fn take_applied(&mut self, worker: WorkerId, version: u64, error: Option<String>) {
        if version != self.bus.shared.version {
            return;
        }
        if let (Some(error), Some(child)) = (&error, self.children.get(&worker)) {
            let (slot, pid) = (child.slot, child.pid.0);
            self.warn(format!(
                "slot {slot} (pid {pid}) did not apply version {version} of the shared values: {error}"
            ));
        }
        self.bus.shared.said.insert(worker, error);
        self.bus.shared.said.retain(|worker, _| self.children.contains_key(worker));
    }

    /// One line for people.
    pub(super) fn shared_note(&self) -> Option<String> {
        let shared = &self.bus.shared;
        if shared.version == 0 {
            return None;
        }
        let alive = |worker: &&WorkerId| self.children.contains_key(worker);
        let mut refused = Vec::new();
        let mut applied = 0;
        for worker in shared.said.keys().filter(alive) {
            match shared.said.get(worker) {
                Some(Some(error)) => {
                    let slot = self.children.get(worker).map(|child| child.slot.to_string());
                    refused.push(format!("slot {}: {error}", slot.unwrap_or_default()));
                }
                _ => applied += 1,
            }
        }
        let of = self.bus.relay.members().count();
        let mut note = format!(
            "shared values, version {}: applied by {applied} of {of} workers",
            shared.version
        );
        if !refused.is_empty() {
            note = format!("{note}; refused by {}", refused.join(", "));
        }
        Some(note)
    }
}
