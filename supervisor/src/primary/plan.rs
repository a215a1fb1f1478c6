//! The plan of a pool: the spec that one generation runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use config::spec::{AppSpec, HookKind};
use serde::{Deserialize, Serialize};

use crate::base::ids::Generation;

/// The spec that a generation of a pool runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) generation: Generation,
    /// Plans of the same edition have the same spec. In a snapshot the edition stands for the spec.
    pub(super) edition: u32,
    #[serde(skip, default = "no_spec")]
    pub(super) spec: Arc<AppSpec>,
}

impl Plan {
    /// Whether its configuration names this address.
    pub(super) fn configures(&self, address: &str) -> bool {
        self.spec.listen.iter().any(|listen| listen.address.to_string() == address)
    }

    /// The longest time that a start may take, including failures and their delays.
    pub(super) fn patience(&self) -> Duration {
        let (times, restart) = (&self.spec.times, &self.spec.restart);
        let hooks = &self.spec.hooks;
        let hook = if hooks.has(HookKind::PreStart) { hooks.timeout } else { Duration::ZERO };
        let once = hook + times.ready_timeout + times.min_uptime + restart.backoff_max;
        once * (u32::from(restart.start_retries) + 1)
    }
}

/// A placeholder for the spec of a plan that was just read.
pub(super) fn no_spec() -> Arc<AppSpec> {
    Arc::new(AppSpec::new("", Vec::new(), PathBuf::new()))
}
