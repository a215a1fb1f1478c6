//! The values that workers share: those that hold now, and those that a reload brings. A worker has
//! the values of its generation, so a reload that is rolled back changes nothing for other workers.

use ipc::bus::{Json, ToWorker};

use super::{Action, Relay};
use crate::base::ids::WorkerId;
use crate::base::per_generation::PerGeneration;

/// Values and their number; different values have different numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Version {
    /// Its number; no two versions have the same. 0: there never were any values.
    pub(crate) number: u64,
    pub(crate) data: Json,
}

impl Relay {
    /// Gives all workers, now and later, the values of their generation.
    pub(crate) fn configure(&mut self, values: PerGeneration<Version>, actions: &mut Vec<Action>) {
        self.values = values;
        let workers: Vec<WorkerId> = self.members.keys().copied().collect();
        for worker in workers {
            self.tell_values(worker, actions);
        }
    }

    /// Tells a worker its values, unless it was told them already.
    pub(super) fn tell_values(&mut self, worker: WorkerId, actions: &mut Vec<Action>) {
        let Some(member) = self.members.get_mut(&worker) else { return };
        let version = self.values.of(member.generation);
        let is_known = version.number == 0 || member.told_values == version.number;
        // Nothing can be said to a worker before its hello.
        if is_known || member.codec.is_none() {
            return;
        }
        member.told_values = version.number;
        let message = ToWorker::Config { version: version.number, data: version.data.clone() };
        self.tell(worker, &message, actions);
    }
}
