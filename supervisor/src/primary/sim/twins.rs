//! A core and what was restored of it do the same for ever.

use super::*;

/// So often, in feeds, a new twin is restored.
const EVERY: u64 = 24;

/// A second core beside the one that is performed.
#[derive(Debug)]
pub(super) struct Twin {
    core: Primary,
    dice: Jitter,
}

impl Sim {
    /// From now on there is a twin.
    pub(super) fn doubled(mut self) -> Self {
        self.twin = Some(Twin { core: restored(&self.primary), dice: Jitter::new(self.seed) });
        self
    }

    /// The twin does what the other has done. Now and then it is snapshot itself, and they change
    /// places.
    pub(super) fn step_twin(&mut self, event: &Event, actions: &[Action]) {
        let Some(twin) = &mut self.twin else { return };
        let mut same = Vec::new();
        twin.core.step(self.now, event.clone(), &mut same);
        twin.core.step(self.now, Event::Turn, &mut same);
        assert_eq!(same, actions, "a restored core does something else");
        assert_eq!(twin.core.deadline(), self.primary.deadline());
        if twin.dice.roll().is_multiple_of(EVERY) {
            let restored = restored(&twin.core);
            twin.core = std::mem::replace(&mut self.primary, restored);
        }
    }
}

/// What is snapshot of it is what it was.
pub(super) fn restored(core: &Primary) -> Primary {
    let text = core.snapshot().expect("a core can be snapshot").get().to_owned();
    let restored = Primary::restore(&text).expect("what was just snapshot");
    assert_eq!(restored.snapshot().expect("a restored core can be snapshot").get(), text);
    restored
}
