//! The values that all workers of an app share: given to them when they join, and again when a
//! person gives them new ones. Those of a reload go to the generation that it brings, and hold for
//! all once it is done. What each said to them is shown in the status, and told to that person.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use config::spec::AppSpec;
use ipc::bus::Json;
use ipc::control::{FailureKind, Reply};
use serde::{Deserialize, Serialize};

use super::limits::Limits;
use crate::base::ids::{ClientId, Generation, Slot, WorkerId};
use crate::base::time::Time;
use crate::primary::event::Cue;
use crate::relay::{Values, Version};
use crate::runtime::Runtime;
use crate::runtime::workers::Child;
use crate::sys::clock;

/// How long workers may take to say whether they apply new values.
const PATIENCE: Duration = Duration::from_secs(10);
/// People who wait for that at a time.
const WAITERS: usize = 16;

/// Values that workers were given, and their number.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) struct Given {
    /// 0: there never were any.
    pub(in crate::runtime) version: u64,
    pub(in crate::runtime) values: Option<String>,
    #[serde(skip)]
    pub(in crate::runtime) limits: Limits,
}

impl Given {
    pub(in crate::runtime) fn new(version: u64, values: Option<String>) -> Self {
        Self { version, limits: Limits::of(values.as_deref()), values }
    }

    pub(in crate::runtime) fn restored(self) -> Self {
        Self::new(self.version, self.values)
    }

    fn told(&self) -> Version {
        let data = self.values.as_deref().and_then(|text| Json::parse(text).ok());
        Version { number: self.version, data: data.unwrap_or_default() }
    }
}

/// The spec that serves, and the one that a reload brings.
type Seen = (Arc<AppSpec>, Option<(Generation, Arc<AppSpec>)>);

/// See the module.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Shared {
    /// What was looked at last.
    seen: Option<Seen>,
    /// The values that hold.
    pub(in crate::runtime) hold: Given,
    /// Those of the generation that a reload brings, if they are others.
    pub(in crate::runtime) coming: Option<(Generation, Given)>,
    /// The highest number there was.
    pub(in crate::runtime) versions: u64,
    /// What each worker said, and to which version; an error is why it did not apply it.
    pub(in crate::runtime) said: BTreeMap<WorkerId, (u64, Option<String>)>,
    /// Who wants to know what they say, and until when.
    waiters: Vec<(ClientId, Time)>,
}

impl Shared {
    /// As the relay has them.
    pub(in crate::runtime) fn values(&self) -> Values {
        Values {
            hold: (self.hold.version > 0).then(|| self.hold.told()),
            coming: self.coming.as_ref().map(|(generation, given)| (*generation, given.told())),
        }
    }

    /// Those of a generation.
    pub(in crate::runtime) fn of(&self, generation: Generation) -> &Given {
        match &self.coming {
            Some((coming, given)) if *coming == generation => given,
            _ => &self.hold,
        }
    }

    /// These hold, and a reload brings those. `false`: nothing has changed.
    fn take(&mut self, hold: &AppSpec, coming: Option<(Generation, &AppSpec)>) -> bool {
        let mut changed = false;
        if self.hold.values != hold.shared {
            let came = self.coming.take_if(|(_, given)| given.values == hold.shared);
            self.hold = match came {
                Some((_, given)) => given,
                None => self.next(hold.shared.clone()),
            };
            changed = true;
        }
        let coming = coming
            .filter(|(_, spec)| spec.shared != hold.shared)
            .map(|(generation, spec)| (generation, &spec.shared));
        let known = self.coming.as_ref().map(|(generation, given)| (*generation, &given.values));
        if known != coming {
            self.coming =
                coming.map(|(generation, values)| (generation, self.next(values.clone())));
            changed = true;
        }
        changed
    }

    fn next(&mut self, values: Option<String>) -> Given {
        self.versions += 1;
        Given::new(self.versions, values)
    }

    /// When somebody has waited long enough.
    pub(in crate::runtime) fn deadline(&self) -> Option<Time> {
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

impl Runtime {
    /// Gives the workers new values, if there are any.
    pub(in crate::runtime) fn share(&mut self) {
        let (hold, coming) = (self.core.spec(), self.core.coming());
        let same = |seen: &Seen| {
            let known = seen.1.as_ref().map(|(generation, spec)| (*generation, Arc::as_ptr(spec)));
            let now = coming.map(|(generation, spec)| (generation, Arc::as_ptr(spec)));
            Arc::ptr_eq(&seen.0, hold) && known == now
        };
        let shared = &mut self.bus.shared;
        if shared.seen.as_ref().is_some_and(same) {
            return;
        }
        let clone = |(generation, spec): (Generation, &Arc<AppSpec>)| (generation, spec.clone());
        shared.seen = Some((Arc::clone(hold), coming.map(clone)));
        if !shared.take(hold, coming.map(|(generation, spec)| (generation, spec.as_ref()))) {
            return;
        }
        let values = shared.values();
        self.writer.stale = true;
        let mut actions = Vec::new();
        self.bus.relay.configure(values, &mut actions);
        self.bus.actions.extend(actions);
    }

    /// What a worker said to the values.
    pub(in crate::runtime) fn take_applied(
        &mut self,
        worker: WorkerId,
        version: u64,
        error: Option<String>,
    ) {
        let Some(child) = self.children.get(&worker) else { return };
        if version != self.bus.shared.of(child.generation).version {
            return;
        }
        if let Some(error) = &error {
            let (slot, pid) = (child.slot, child.pid.0);
            self.warn(format!(
                "slot {slot} (pid {pid}) did not apply version {version} of the shared values: {error}"
            ));
            self.cue(worker, Cue::RefusesValues { reason: error.clone() });
        }
        self.bus.shared.said.insert(worker, (version, error));
        self.bus.shared.said.retain(|worker, _| self.children.contains_key(worker));
    }

    /// What those make of a version to whom it was given.
    fn said_of_shared(&self, version: u64) -> Said {
        let mut all = Said::default();
        let shared = &self.bus.shared;
        let joined: Vec<WorkerId> = self.bus.relay.members().map(|member| member.worker).collect();
        let given = |child: &&Child| {
            child.ended.is_none() && shared.of(child.generation).version == version
        };
        for child in self.children.values().filter(given) {
            let said = shared.said.get(&child.id).filter(|(of, _)| *of == version);
            match said {
                _ if !joined.contains(&child.id) => all.absent.push(child.slot),
                Some((_, None)) => all.applied.push(child.slot),
                Some((_, Some(error))) => all.refused.push((child.slot, error.clone())),
                None => all.silent.push(child.slot),
            }
        }
        all
    }

    /// A line for people on each version that workers have.
    pub(in crate::runtime) fn shared_notes(&self) -> Vec<String> {
        let shared = &self.bus.shared;
        let coming = shared.coming.as_ref().map(|(_, given)| given.version);
        let versions = [Some(shared.hold.version), coming].into_iter().flatten();
        let note = |version| sentence(version, &self.said_of_shared(version));
        versions.filter(|version| *version > 0).map(note).collect()
    }

    /// Somebody has given new values, and waits for what the workers say.
    pub(in crate::runtime) fn await_shared(&mut self, client: ClientId) {
        self.share();
        if self.bus.shared.waiters.len() >= WAITERS {
            let reason = format!("{WAITERS} others wait for the workers to apply new values");
            return self.answer(client, &Reply::failed(FailureKind::Failed, reason));
        }
        self.bus.shared.waiters.push((client, clock::now() + PATIENCE));
        self.answer_shared();
    }

    /// Tells those who wait, once all workers on the bus have spoken or the time is over.
    pub(in crate::runtime) fn answer_shared(&mut self) {
        if self.bus.shared.waiters.is_empty() {
            return;
        }
        let version = self.bus.shared.hold.version;
        let (now, said) = (clock::now(), self.said_of_shared(version));
        let complete = said.silent.is_empty();
        let message = sentence(version, &said);
        let reply = match complete && said.refused.is_empty() {
            true => Reply::done(message),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(limit: u32) -> AppSpec {
        let shared = Some(format!("{{\"limit\":{limit}}}"));
        AppSpec { shared, ..AppSpec::new("web", vec!["true".to_owned()], "/".into()) }
    }

    /// The numbers of the values that generations 1, 2 and 3 have.
    fn numbers(shared: &Shared) -> [u64; 3] {
        [1, 2, 3].map(|generation| shared.of(Generation(generation)).version)
    }

    #[test]
    fn a_generation_has_its_own_values_until_it_serves() {
        let mut shared = Shared::default();
        let (old, new, wrong) = (spec(1), spec(2), spec(3));
        assert!(shared.take(&old, None) && !shared.take(&old, None));
        assert_eq!(numbers(&shared), [1, 1, 1]);
        // A reload that is rolled back.
        assert!(shared.take(&old, Some((Generation(2), &wrong))));
        assert_eq!(numbers(&shared), [1, 2, 1]);
        assert!(shared.take(&old, None));
        assert_eq!(numbers(&shared), [1, 1, 1]);
        // One without other values.
        assert!(!shared.take(&old, Some((Generation(3), &old))));
        // One that is done.
        assert!(shared.take(&old, Some((Generation(3), &new))));
        assert!(!shared.take(&old, Some((Generation(3), &new))));
        assert_eq!(numbers(&shared), [1, 1, 3]);
        assert!(shared.take(&new, Some((Generation(3), &new))));
        assert_eq!(numbers(&shared), [3, 3, 3]);
        assert_eq!(shared.hold.values, new.shared);
        assert_eq!(shared.coming, None);
    }
}
