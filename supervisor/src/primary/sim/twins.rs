//! A core and its restored copy do the same for ever.

use super::*;

/// How many feeds pass between two restored twins.
const EVERY: u64 = 24;

/// A second core beside the one whose actions are carried out.
#[derive(Debug)]
pub(super) struct Twin {
    core: Primary,
    dice: Jitter,
}

impl Sim {
    /// Adds a twin, which runs beside the core from now on.
    pub(super) fn doubled(mut self) -> Self {
        self.twin = Some(Twin { core: restored(&self.primary), dice: Jitter::new(self.seed) });
        self
    }

    /// The twin takes the same event and must do the same. Now and then a copy of the twin is
    /// restored, and the two cores change places.
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

/// Restores a core from its snapshot, and checks that both have the same snapshot.
pub(super) fn restored(core: &Primary) -> Primary {
    let text = core.snapshot().expect("the core can be written").get().to_owned();
    let restored = Primary::restore(&text).expect("its own snapshot is valid");
    assert_eq!(restored.snapshot().expect("the restored core can be written").get(), text);
    restored
}
