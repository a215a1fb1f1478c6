//! The specs of the workers, each written once.

use std::sync::Arc;

use config::spec::AppSpec;

/// Specs by their place in a list.
#[derive(Debug, Default)]
pub(super) struct Specs(pub(super) Vec<Arc<AppSpec>>);

impl Specs {
    /// The place of a spec in the list.
    pub(super) fn place(&mut self, spec: &Arc<AppSpec>) -> usize {
        let known = self.0.iter().position(|known| Arc::ptr_eq(known, spec) || known == spec);
        known.unwrap_or_else(|| {
            self.0.push(Arc::clone(spec));
            self.0.len() - 1
        })
    }
}
