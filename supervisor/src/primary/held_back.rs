//! What a reload that was rolled back leaves behind. The workers run the code that they loaded
//! before it. Its files may still lie where they read theirs: then a worker that is started anew
//! runs the code that has failed, and nothing else would say so.

use serde::{Deserialize, Serialize};

use super::plan::Plan;
use crate::base::ids::Generation;
use crate::base::time::Time;
use crate::primary::text::count;

/// A reload that was rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeldBack {
    generation: Generation,
    since: Time,
}

impl HeldBack {
    /// `None`: both plans start another program or in another folder, so that the files of the
    /// failed one are none of those that the other reads.
    pub(super) fn of(failed: &Plan, serves: &Plan, now: Time) -> Option<Self> {
        let place = |plan: &Plan| (plan.spec.command.clone(), plan.spec.cwd.clone());
        let same_files = place(failed) == place(serves);
        same_files.then_some(Self { generation: failed.generation, since: now })
    }

    /// Whether a worker was started after the reload was rolled back.
    pub(super) fn is_before(self, started: Time) -> bool {
        started > self.since
    }

    /// What people are told. `newer`: how many workers were started since.
    pub(super) fn sentence(self, newer: u32) -> String {
        let begun = match newer {
            0 => String::new(),
            _ => format!(" ({} started since then and may run it)", count(newer, "worker")),
        };
        format!(
            "generation {} was rolled back: the workers run what they loaded before; if the failed \
             code still lies in their files, the next worker that is restarted runs it{begun}; put \
             the files right, then reload",
            self.generation
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use config::spec::AppSpec;

    use super::*;

    fn plan(generation: u32, command: &str, folder: &str) -> Plan {
        let spec = AppSpec::new("web", vec![command.to_owned()], folder.into());
        let generation = Generation(generation);
        Plan { generation, edition: generation.0, spec: Arc::new(spec) }
    }

    #[test]
    fn only_the_same_program_in_the_same_folder_leaves_its_files_in_the_way() {
        let serves = plan(1, "serve", "/srv");
        let held_back = HeldBack { generation: Generation(2), since: Time(5) };
        assert_eq!(HeldBack::of(&plan(2, "serve", "/srv"), &serves, Time(5)), Some(held_back));
        assert_eq!(HeldBack::of(&plan(2, "serve2", "/srv"), &serves, Time(5)), None);
        assert_eq!(HeldBack::of(&plan(2, "serve", "/srv2"), &serves, Time(5)), None);
    }
}
