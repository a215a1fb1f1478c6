//! A core and what was thawed of it do the same for ever.

use super::*;

/// So often, in feeds, a new twin is thawed.
const EVERY: u64 = 24;

/// A second core beside the one that is performed.
#[derive(Debug)]
pub(super) struct Twin {
    core: Primary,
    dice: Dice,
}

impl Sim {
    /// From now on there is a twin.
    pub(super) fn doubled(mut self) -> Self {
        self.twin = Some(Twin { core: thawed(&self.primary), dice: Dice::new(self.seed) });
        self
    }

    /// The twin does what the other has done. Now and then it is frozen itself, and they change
    /// places.
    pub(super) fn step_twin(&mut self, event: &Event, actions: &[Action]) {
        let Some(twin) = &mut self.twin else { return };
        let mut same = Vec::new();
        twin.core.step(self.now, event.clone(), &mut same);
        twin.core.step(self.now, Event::Turn, &mut same);
        assert_eq!(same, actions, "a thawed core does something else");
        assert_eq!(twin.core.deadline(), self.primary.deadline());
        if twin.dice.roll().is_multiple_of(EVERY) {
            let thawed = thawed(&twin.core);
            twin.core = std::mem::replace(&mut self.primary, thawed);
        }
    }
}

/// What is frozen of it is what it was.
pub(super) fn thawed(core: &Primary) -> Primary {
    let text = core.freeze().expect("a core can be frozen").get().to_owned();
    let thawed = Primary::thaw(&text).expect("what was just frozen");
    assert_eq!(thawed.freeze().expect("a thawed core can be frozen").get(), text);
    thawed
}
