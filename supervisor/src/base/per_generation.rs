//! Something that differs between the generation that a reload brings and all others.

use super::ids::Generation;

/// A `T` for each generation.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PerGeneration<T> {
    /// Of every generation but the coming one.
    pub(crate) serving: T,
    /// The generation that a reload brings, and its own.
    pub(crate) coming: Option<(Generation, T)>,
}

impl<T> PerGeneration<T> {
    /// The one of this generation.
    pub(crate) fn of(&self, generation: Generation) -> &T {
        match &self.coming {
            Some((coming, own)) if *coming == generation => own,
            Some(_) | None => &self.serving,
        }
    }

    /// The same with each `T` changed.
    pub(crate) fn map<'a, U>(&'a self, change: impl Fn(&'a T) -> U) -> PerGeneration<U> {
        let coming = self.coming.as_ref().map(|(generation, own)| (*generation, change(own)));
        PerGeneration { serving: change(&self.serving), coming }
    }
}
