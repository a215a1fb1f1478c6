//! The process of a hook: it is started, watched and ended as a worker is, with the same user,
//! folder, limits and environment, and it speaks no contract.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::spec::{AppSpec, HookKind, Hooks, ProbeSpec};

use super::launch::Order;
use crate::base::ids::{Generation, Slot, WorkerId};
use crate::sys::pidfd::Pid;

/// What a hook is about.
#[derive(Debug)]
pub(in crate::runtime) struct About {
    pub(in crate::runtime) kind: HookKind,
    /// The main process of its worker, while that lives.
    pub(in crate::runtime) pid: Option<Pid>,
    /// What the core says of its cause.
    pub(in crate::runtime) variables: BTreeMap<String, String>,
}

/// The start of a hook's process. `spec`: that of its worker, or of the app.
pub(in crate::runtime) fn order(
    (worker, slot, generation): (WorkerId, Slot, Generation),
    spec: &Arc<AppSpec>,
    about: About,
) -> Order {
    let About { kind, pid, mut variables } = about;
    variables.insert("SUPERVISOR_HOOK".to_owned(), kind.key().to_owned());
    variables.extend(pid.map(|pid| ("SUPERVISOR_PID".to_owned(), pid.to_string())));
    let own = AppSpec {
        command: spec.hooks.command(kind).unwrap_or_default().to_vec(),
        // These are about workers.
        listen: Vec::new(),
        readiness: ProbeSpec::default(),
        liveness: ProbeSpec::default(),
        hooks: Hooks::default(),
        pid_file: None,
        shared: None,
        stop_message: None,
        ..spec.as_ref().clone()
    };
    let (workers, lend, hook) = (spec.wanted, Vec::new(), Some(variables));
    Order { worker, slot, generation, spec: Arc::new(own), workers, lend, hook }
}
