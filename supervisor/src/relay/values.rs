//! The values that workers share: those that hold now, and those that a reload brings. A worker has
//! the values of its generation, so a reload that is rolled back changes nothing for other workers.

use ipc::bus::{Json, ToWorker};

use super::{Action, Relay};
use crate::base::ids::{Generation, WorkerId};

/// Values and their number; different values have different numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Version {
    pub(crate) number: u64,
    pub(crate) data: Json,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Values {
    /// `None`: the app never had any.
    pub(crate) hold: Option<Version>,
    /// The values of the generation that a reload brings, if they differ.
    pub(crate) coming: Option<(Generation, Version)>,
}

impl Values {
    /// The values of a worker of this generation.
    pub(crate) fn of(&self, generation: Generation) -> Option<&Version> {
        match &self.coming {
            Some((coming, version)) if *coming == generation => Some(version),
            _ => self.hold.as_ref(),
        }
    }
}

impl Relay {
    /// Gives all workers, now and later, the values of their generation.
    pub(crate) fn configure(&mut self, values: Values, actions: &mut Vec<Action>) {
        self.values = values;
        let workers: Vec<WorkerId> = self.members.keys().copied().collect();
        for worker in workers {
            self.tell_values(worker, actions);
        }
    }

    /// Tells a worker its values, unless it was told already.
    pub(super) fn tell_values(&mut self, worker: WorkerId, actions: &mut Vec<Action>) {
        let Some(member) = self.members.get_mut(&worker) else { return };
        let Some(version) = self.values.of(member.generation) else { return };
        // A worker gets no message before its hello.
        if member.codec.is_none() || member.told_values == Some(version.number) {
            return;
        }
        member.told_values = Some(version.number);
        let message = ToWorker::Config { version: version.number, data: version.data.clone() };
        self.tell(worker, &message, actions);
    }
}
