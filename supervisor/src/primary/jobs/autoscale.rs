//! Another number of workers because of the load: the runtime looks at it, and the core scales as
//! for a person, but only within the bounds that are configured and while nothing else is going on.

use config::spec::Instances;

use super::state::Count;
use crate::primary::slots::pools::OWN;
use crate::primary::{Phase, Primary, Step};

impl Primary {
    /// Whether all workers are ready and nothing changes the app.
    pub(crate) fn is_settled(&self) -> bool {
        let idle = self.job.is_none() && self.merging.is_none() && self.queue.is_empty();
        let all = self.wanted().count() == self.ready_count();
        matches!(self.phase, Phase::Running) && idle && all
    }

    /// Handles the wish for another number of workers. What has changed meanwhile comes first.
    pub(in crate::primary) fn scale_by_load(
        &mut self,
        to: u16,
        because: String,
        step: &mut Step<'_>,
    ) {
        let Instances::Between { min, max } = self.serving.spec.instances else { return };
        let to = to.clamp(min, max);
        if self.is_settled() && to != self.serving.spec.wanted {
            self.begin_scale(OWN, Count::Exactly(to), because, Vec::new(), step);
        }
    }
}
