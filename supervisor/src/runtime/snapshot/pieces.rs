//! The workers, and of each the piece of the state that is about it. A piece is made anew only when
//! its worker may have changed, so that with hundreds of workers a writing costs what has changed.
//!
//! Nobody can forget to say so: whoever gets hold of a worker to change it takes its piece away.

use std::collections::BTreeMap;
use std::ops::Deref;

use serde_json::value::{RawValue, to_raw_value};

use super::Specs;
use super::worker::ChildSnapshot;
use crate::base::ids::WorkerId;
use crate::runtime::workers::Child;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Children {
    all: BTreeMap<WorkerId, Child>,
    pieces: BTreeMap<WorkerId, Box<RawValue>>,
    /// What the pieces call specs by.
    specs: Specs,
    /// Beyond so many, those that no worker has any more are looked for.
    most_specs: usize,
}

/// Specs that are kept although no worker may have them.
const SPARE_SPECS: usize = 8;

impl Children {
    pub(super) fn of(all: BTreeMap<WorkerId, Child>) -> Self {
        Self { all, ..Self::default() }
    }

    pub(in crate::runtime) fn get_mut(&mut self, worker: &WorkerId) -> Option<&mut Child> {
        self.pieces.remove(worker);
        self.all.get_mut(worker)
    }

    pub(in crate::runtime) fn insert(&mut self, worker: WorkerId, child: Child) -> Option<Child> {
        self.pieces.remove(&worker);
        self.all.insert(worker, child)
    }

    pub(in crate::runtime) fn remove(&mut self, worker: &WorkerId) -> Option<Child> {
        self.pieces.remove(worker);
        self.all.remove(worker)
    }

    /// The state of all of them, and the specs that it names.
    pub(super) fn snapshot(&mut self) -> serde_json::Result<(Vec<&RawValue>, &Specs)> {
        let anew = self.specs.0.len() > self.most_specs;
        if anew {
            self.specs.0.clear();
            self.pieces.clear();
        }
        for (worker, child) in &self.all {
            if let Some(piece) = self.pieces.get(worker) {
                debug_assert_eq!(
                    to_raw_value(&ChildSnapshot::of(child, &mut self.specs))?.get(),
                    piece.get(),
                    "a worker changed and its piece did not"
                );
                continue;
            }
            let piece = to_raw_value(&ChildSnapshot::of(child, &mut self.specs))?;
            self.pieces.insert(*worker, piece);
        }
        if anew {
            self.most_specs = 2 * self.specs.0.len() + SPARE_SPECS;
        }
        Ok((self.pieces.values().map(AsRef::as_ref).collect(), &self.specs))
    }
}

/// To look at them.
impl Deref for Children {
    type Target = BTreeMap<WorkerId, Child>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}
