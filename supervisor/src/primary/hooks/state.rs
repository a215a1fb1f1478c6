//! The hooks that run or wait, as data.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use config::spec::HookKind;
use serde::{Deserialize, Serialize};

use crate::base::ids::{Slot, WorkerId};
use crate::base::time::Time;
use crate::primary::action::Action;
use crate::primary::plan::Plan;

/// The longest that a hook may take in a fast stop.
const FAST: Duration = Duration::from_secs(2);

/// The hooks of the app.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::primary) struct Hooks {
    /// Those whose process may live, by its number.
    pub(super) running: BTreeMap<WorkerId, Hook>,
    /// Those that nothing waits for and that have not begun, the next one first.
    pub(super) waiting: VecDeque<Hook>,
    /// A fast stop is under way, and none that waits begins after this time.
    pub(super) hurries: Option<Time>,
    /// The app stops, and none that waits begins after this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) begins_until: Option<Time>,
}

/// One hook.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hook {
    pub(super) kind: HookKind,
    /// The worker that it is about.
    pub(super) worker: Option<WorkerId>,
    pub(super) slot: Slot,
    /// What its process runs by.
    pub(super) plan: Plan,
    /// What it finds in its environment about its cause.
    pub(super) variables: BTreeMap<String, String>,
    /// When it has had its time, or, if it was killed, when it is abandoned.
    pub(super) until: Time,
    /// Its program runs.
    #[serde(default)]
    pub(super) runs: bool,
    /// It is killed as soon as its program runs, or was.
    #[serde(default)]
    pub(super) killed: Option<Killed>,
}

/// Why a hook was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Killed {
    /// It has had its time.
    Late,
    /// Nothing waits for it any more.
    Unwanted,
}

/// How a hook ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Passed,
    Failed {
        /// A lower-case sentence about the hook.
        reason: String,
        /// Trying again cannot help.
        permanent: bool,
        last_lines: Vec<String>,
    },
}

impl Hook {
    /// Whether a worker or a rollout waits for it.
    pub(super) fn is_awaited(&self) -> bool {
        match self.kind {
            HookKind::PreStart | HookKind::PreStop | HookKind::ObserveCheck => true,
            HookKind::PostReady | HookKind::PostStop | HookKind::OnCrash | HookKind::OnRollback => {
                false
            }
        }
    }

    /// The order to start its process, which is known as `id`.
    pub(super) fn order(&self, id: WorkerId) -> Action {
        Action::RunHook {
            hook: id,
            kind: self.kind,
            worker: self.worker,
            slot: self.slot,
            generation: self.plan.generation,
            spec: self.plan.spec.clone(),
            variables: self.variables.clone(),
        }
    }
}

impl Hooks {
    /// None runs and none waits.
    pub(in crate::primary) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Nothing is known of any, so nothing need be written down.
    pub(in crate::primary) fn is_default(&self) -> bool {
        self.is_empty() && self.hurries.is_none() && self.begins_until.is_none()
    }

    /// Whether this is the process of a hook.
    pub(in crate::primary) fn has(&self, id: WorkerId) -> bool {
        self.running.contains_key(&id)
    }

    /// Whether the program of this hook is known to run, or to have run.
    #[cfg(test)]
    pub(in crate::primary) fn runs(&self, id: WorkerId) -> bool {
        self.running.get(&id).is_some_and(|hook| hook.runs)
    }

    /// The processes of all hooks.
    pub(in crate::primary) fn ids(&self) -> impl Iterator<Item = WorkerId> {
        self.running.keys().copied()
    }

    /// The processes of those that judge a rollout.
    pub(super) fn checks(&self) -> impl Iterator<Item = WorkerId> {
        let checks = self.running.iter().filter(|(_, hook)| hook.kind == HookKind::ObserveCheck);
        checks.map(|(id, _)| *id)
    }

    /// When the next of them has had its time.
    pub(in crate::primary) fn deadline(&self) -> Option<Time> {
        self.running.values().map(|hook| hook.until).min()
    }

    /// Those that have had their time.
    pub(super) fn late(&self, now: Time) -> Vec<WorkerId> {
        let late = self.running.iter().filter(|(_, hook)| hook.until <= now);
        late.map(|(id, _)| *id).collect()
    }

    /// How many run that no worker waits for.
    pub(super) fn at_once(&self) -> usize {
        self.running.values().filter(|hook| !hook.is_awaited()).count()
    }

    /// How long a hook may take that begins now.
    pub(super) fn limit(&self, plan: &Plan) -> Duration {
        let limit = plan.spec.hooks.timeout;
        if self.hurries.is_some() { limit.min(FAST) } else { limit }
    }

    /// A fast stop begins: nothing may take long any more.
    pub(in crate::primary) fn hurry(&mut self, now: Time) {
        self.hurries.get_or_insert(now + 2 * FAST);
        for hook in self.running.values_mut() {
            hook.until = hook.until.min(now + FAST);
        }
    }

    /// A stop begins. What runs may take its time; what waits has as much to begin.
    pub(in crate::primary) fn wind_up(&mut self, now: Time, timeout: Duration) {
        self.begins_until.get_or_insert(now + timeout);
    }

    /// Whether a hook that waits is left out now, because the app stops.
    pub(super) fn leaves_out(&self, now: Time) -> bool {
        let mut limits = self.hurries.iter().chain(&self.begins_until);
        limits.any(|until| *until <= now)
    }

    /// Whether a worker waits for a `pre_stop` that runs.
    pub(super) fn anyone_parts(&self) -> bool {
        self.running.values().any(|hook| hook.kind == HookKind::PreStop)
    }

    /// The app starts.
    pub(in crate::primary) fn begin_anew(&mut self) {
        (self.hurries, self.begins_until) = (None, None);
    }

    pub(in crate::primary) fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.running.values().chain(&self.waiting).map(|hook| &hook.plan)
    }

    pub(in crate::primary) fn plans_mut(&mut self) -> impl Iterator<Item = &mut Plan> {
        self.running.values_mut().chain(&mut self.waiting).map(|hook| &mut hook.plan)
    }
}
