//! The values that all workers of an app share: given to them when they join, and again when a
//! reload that changes them is done or a person gives them new ones. What each said to them is
//! shown in the status, and told to that person.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use config::spec::AppSpec;
use ipc::bus::Json;
use ipc::control::{FailureKind, Reply};

use super::Drive;
use super::limited::Limits;
use crate::primary::ids::{ClientId, Slot, WorkerId};
use crate::primary::time::Time;
use crate::sys::clock;

/// How long workers may take to say whether they apply new values.
const PATIENCE: Duration = Duration::from_secs(10);
/// People who wait for that at a time.
const WAITERS: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The spec that was looked at last.
    seen: Option<Arc<AppSpec>>,
    /// The values that the workers were given, and their version.
    pub(super) given: Option<String>,
    pub(super) limits: Limits,
    pub(super) version: u64,
    /// What each worker said to this version; an error is why it did not apply it.
    pub(super) said: BTreeMap<WorkerId, Option<String>>,
    /// Who wants to know what they say, and until when.
    waiters: Vec<(ClientId, Time)>,
}

impl Shared {
    /// What the workers were given.
    pub(super) fn values(&self) -> Json {
        self.given.as_deref().and_then(|text| Json::parse(text).ok()).unwrap_or_default()
    }

    /// These are the values now.
    pub(super) fn give(&mut self, values: Option<String>) {
        self.limits = Limits::of(values.as_deref());
        self.given = values;
    }

    /// When somebody has waited long enough.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.waiters.iter().map(|(_, until)| *until).min()
    }
}

/// What the workers make of the values, by slot.
#[derive(Debug, Default)]
struct Said {
    applied: Vec<Slot>,
    refused: Vec<(Slot, String)>,
    silent: Vec<Slot>,
    /// They have not joined the bus.
    absent: Vec<Slot>,
}

impl Drive {
    /// Gives the workers new values, if there are any.
    pub(super) fn share(&mut self) {
        let spec = self.core.spec();
        if self.bus.shared.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, spec)) {
            return;
        }
        let changed = self.bus.shared.given != spec.shared;
        let values = spec.shared.clone();
        self.bus.shared.seen = Some(Arc::clone(spec));
        if !changed {
            return;
        }
        self.bus.shared.give(values);
        let data = self.bus.shared.values();
        self.stale = true;
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

    fn said_of_shared(&self) -> Said {
        let mut all = Said::default();
        let joined: Vec<WorkerId> = self.bus.relay.members().map(|member| member.worker).collect();
        for (worker, child) in self.children.iter().filter(|(_, child)| child.ended.is_none()) {
            match self.bus.shared.said.get(worker) {
                _ if !joined.contains(worker) => all.absent.push(child.slot),
                Some(None) => all.applied.push(child.slot),
                Some(Some(error)) => all.refused.push((child.slot, error.clone())),
                None => all.silent.push(child.slot),
            }
        }
        all
    }

    /// One line for people.
    pub(super) fn shared_note(&self) -> Option<String> {
        let version = self.bus.shared.version;
        (version > 0).then(|| sentence(version, &self.said_of_shared()))
    }

    /// Somebody has given new values, and waits for what the workers say.
    pub(super) fn await_shared(&mut self, client: ClientId) {
        self.share();
        if self.bus.shared.waiters.len() >= WAITERS {
            let reason = format!("{WAITERS} others wait for the workers to apply new values");
            return self.answer(client, &Reply::failed(FailureKind::Failed, reason));
        }
        self.bus.shared.waiters.push((client, clock::now() + PATIENCE));
        self.answer_shared();
    }

    /// Tells those who wait, once all workers on the bus have spoken or the time is over.
    pub(super) fn answer_shared(&mut self) {
        if self.bus.shared.waiters.is_empty() {
            return;
        }
        let (now, said) = (clock::now(), self.said_of_shared());
        let complete = said.silent.is_empty();
        let message = sentence(self.bus.shared.version, &said);
        let reply = match complete && said.refused.is_empty() {
            true => Reply::Done { message },
            false => Reply::failed(FailureKind::Failed, message),
        };
        let waiters = std::mem::take(&mut self.bus.shared.waiters);
        for (client, until) in waiters {
            if complete || until <= now {
                self.answer(client, &reply);
            } else {
                self.bus.shared.waiters.push((client, until));
            }
        }
    }
}

/// `shared values, version 2: applied by 1 of 3 workers; refused by slot 1: too high; slot 2 has
/// not said; not on the bus: slot 3`
fn sentence(version: u64, said: &Said) -> String {
    let of = said.applied.len() + said.refused.len() + said.silent.len();
    let list = |slots: &[Slot]| {
        slots.iter().map(|slot| format!("slot {slot}")).collect::<Vec<_>>().join(", ")
    };
    let mut note = format!(
        "shared values, version {version}: applied by {} of {of} workers",
        said.applied.len()
    );
    for (slot, error) in &said.refused {
        note.push_str(&format!("; refused by slot {slot}: {error}"));
    }
    for (what, slots) in [("no answer yet from", &said.silent), ("not on the bus:", &said.absent)] {
        if !slots.is_empty() {
            note.push_str(&format!("; {what} {}", list(slots)));
        }
    }
    note
}
