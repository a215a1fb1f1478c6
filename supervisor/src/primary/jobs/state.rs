//! The jobs under way and the requests that wait, as data.

use std::collections::BTreeMap;
use std::time::Duration;

use config::change::SpecChange;
use config::spec::AppSpec;
use ipc::control::{FailureKind, Method, Reply};
use serde::{Deserialize, Serialize};

use crate::base::ids::{ClientId, Generation, MergeId, PoolIndex, Slot, WorkerId};
use crate::base::time::Time;
use crate::primary::messages;
use crate::primary::plan::Plan;
use crate::primary::slots::pools::{OWN, Pools};

/// A change that begins when no other is under way.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::primary) struct Pending {
    pub(in crate::primary) wish: Wish,
    /// The clients that wait for the answer. Clients that hung up are not among them.
    pub(in crate::primary) clients: Vec<ClientId>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::primary) enum Wish {
    /// Replace all workers; `hard`: stop them first. `None`: use the spec that serves at that time.
    Replace {
        hard: bool,
        spec: Option<Box<AppSpec>>,
        /// Replace the workers of this pool only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pool: Option<String>,
    },
    /// Start a whole new generation, and switch to it at once.
    ReplaceAtOnce { spec: Option<Box<AppSpec>>, keep_old: Duration },
    /// Switch back to the generation that is warm.
    Rollback,
    /// Replace the worker of one slot, with the spec that serves at that time.
    ReplaceWorker { slot: Slot },
    /// Replace workers with a spec that has yet to be merged.
    Configure { change: SpecChange, method: Method },
    Scale {
        to: Count,
        because: String,
        /// The pool to scale; `None`: the app's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pool: Option<String>,
    },
}

impl Wish {
    /// Whether only builds that switch whole generations know it.
    pub(in crate::primary) fn is_of_switch(&self) -> bool {
        match self {
            Self::ReplaceAtOnce { .. } | Self::Rollback => true,
            Self::Configure { method, .. } => is_blue_green(method),
            Self::Replace { .. } | Self::ReplaceWorker { .. } | Self::Scale { .. } => false,
        }
    }
}

/// Whether this method switches a whole generation.
pub(in crate::primary) fn is_blue_green(method: &Method) -> bool {
    matches!(method, Method::BlueGreen { .. })
}

/// The number of workers that a request wants.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::primary) enum Count {
    Exactly(u16),
    OneMore,
    OneFewer,
}

/// A client that waits until the app is up.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::primary) struct Waiter {
    pub(in crate::primary) client: ClientId,
    /// The client waits until this time.
    pub(in crate::primary) until: Time,
}

/// How far a start is.
#[derive(Debug)]
pub(in crate::primary) enum Outlook {
    /// All workers are ready.
    Ready,
    /// Some workers may still become ready.
    Open,
    /// No further worker will become ready without help, and some are not ready.
    Failed { reason: String, last_lines: Vec<String> },
}

/// The change that is being merged.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::primary) struct Merging {
    pub(in crate::primary) merge: MergeId,
    pub(in crate::primary) change: SpecChange,
    pub(in crate::primary) method: Method,
    /// The clients that wait for the answer. Clients that hung up are not among them.
    pub(in crate::primary) clients: Vec<ClientId>,
    /// Shared values that came meanwhile: they are newer than those of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::primary) shared: Option<Values>,
}

/// Shared values as JSON text, or none.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::primary) struct Values {
    pub(in crate::primary) json: Option<String>,
}

impl Merging {
    /// Takes shared values that came while the merge is under way.
    pub(in crate::primary) fn share(&mut self, shared: Option<&str>) {
        self.shared = Some(Values { json: shared.map(str::to_owned) });
    }
}

/// A reload under way.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::primary) struct Rollout {
    pub(in crate::primary) clients: Vec<ClientId>,
    pub(in crate::primary) to: Pools,
    /// It replaces one pool alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::primary) only: Option<PoolIndex>,
    /// It replaces the worker of one slot alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::primary) slot: Option<Slot>,
    pub(in crate::primary) began: Time,
    /// Slots that the new generation has taken over.
    pub(in crate::primary) replaced: u32,
    /// By pool: until when the worker that took over first is observed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::primary) observed_until: BTreeMap<PoolIndex, Time>,
    /// By pool: the `observe_check` of the worker that took over first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::primary) checks: BTreeMap<PoolIndex, Check>,
    /// Connections with a request in flight that old workers took with them.
    pub(in crate::primary) cut: u32,
    pub(in crate::primary) course: Course,
    /// It replaces all slots at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::primary) at_once: Option<AtOnce>,
    /// No further slot is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::primary) pause: Option<Pause>,
    /// Why it goes back though nothing has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::primary) aborted: Option<String>,
    /// The clients that asked for that and wait for its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::primary) aborting: Vec<ClientId>,
}

/// How far a rollout is that replaces all slots at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::primary) struct AtOnce {
    /// How long the old generation stays warm afterwards.
    pub(in crate::primary) keep_old: Duration,
    pub(in crate::primary) switched: bool,
}

/// A generation that served before a switch. Its workers are ready and get no new connections.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::primary) struct Warm {
    pub(in crate::primary) planned: Pools,
    /// Until when it stays. `None`: the rollout that replaced it is still under way.
    pub(in crate::primary) until: Option<Time>,
}

/// A pause of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::primary) struct Pause {
    pub(in crate::primary) since: Time,
    /// The rollout is aborted then.
    pub(in crate::primary) until: Time,
}

/// How far the `observe_check` of a pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::primary) enum Check {
    /// It runs as this process.
    Runs(WorkerId),
    Ended,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::primary) enum Course {
    /// `Action::OpenListeners` is under way.
    Opening,
    Forward,
    /// All workers serve; slots that are no longer wanted are leaving.
    Shrinking,
    /// The rollout failed; `restored` slots have been given an old worker that is not ready yet.
    Back {
        failure: Failure,
        restored: Vec<Slot>,
    },
}

/// Why a reload failed.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::primary) struct Failure {
    pub(in crate::primary) slot: Slot,
    pub(in crate::primary) reason: String,
    pub(in crate::primary) last_lines: Vec<String>,
}

impl Rollout {
    /// The generation that it brings in.
    pub(in crate::primary) fn generation(&self) -> Generation {
        if let Some(plan) = self.slot.and_then(|slot| self.to.plan_for(slot)) {
            return plan.generation;
        }
        self.to.plan(self.only.unwrap_or(OWN)).map_or(self.to.generation, |plan| plan.generation)
    }

    /// When every canary will have been observed for long enough.
    pub(in crate::primary) fn observed_until(&self) -> Option<Time> {
        self.observed_until.values().max().copied()
    }

    /// When the core must look at it again, if it waits for nothing else.
    pub(in crate::primary) fn until(&self) -> Option<Time> {
        self.observed_until().filter(|_| matches!(self.course, Course::Forward))
    }

    /// When the primary aborts it, if no client resumes it before.
    pub(in crate::primary) fn paused_until(&self) -> Option<Time> {
        let pause = self.pause.filter(|_| matches!(self.course, Course::Forward));
        pause.map(|pause| pause.until)
    }

    /// Whether only builds that switch, pause and abort know what it is to do.
    pub(in crate::primary) fn is_steered(&self) -> bool {
        let aborts = self.aborted.is_some() || !self.aborting.is_empty();
        self.at_once.is_some() || self.pause.is_some() || aborts
    }

    /// Whether a new generation has yet to take over all slots at once.
    pub(in crate::primary) fn switches(&self) -> bool {
        self.at_once.is_some_and(|at_once| !at_once.switched)
    }

    /// Whether it is about this slot.
    pub(in crate::primary) fn is_about(&self, slot: Slot) -> bool {
        match (self.slot, self.only) {
            (Some(one), _) => slot == one,
            (None, Some(pool)) => slot.pool_index() == pool,
            (None, None) => true,
        }
    }

    /// How many slots it is about.
    pub(in crate::primary) fn slots(&self) -> u32 {
        let its = self.to.slots().filter(|(slot, _)| self.is_about(*slot)).count();
        u32::try_from(its).unwrap_or(u32::MAX)
    }

    /// Where it failed. `None`: it was aborted.
    pub(in crate::primary) fn place_of(&self, failure: &Failure) -> Option<String> {
        self.aborted.is_none().then(|| self.to.place(failure.slot))
    }

    /// The plan among `planned` that tells people what is being replaced.
    pub(in crate::primary) fn leading<'a>(&self, planned: &'a Pools) -> &'a Plan {
        planned.plan(self.only.unwrap_or(OWN)).unwrap_or(planned)
    }
}

/// A scaling job under way.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::primary) struct Scaling {
    pub(in crate::primary) clients: Vec<ClientId>,
    /// The pool that is scaled.
    #[serde(rename = "berth", default = "own", skip_serializing_if = "is_own")]
    pub(in crate::primary) pool_index: PoolIndex,
    /// The number of workers before.
    pub(in crate::primary) from: u16,
    pub(in crate::primary) direction: Direction,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::primary) enum Direction {
    /// The job waits until this time for the new workers.
    Up {
        until: Time,
    },
    Down,
}

impl Scaling {
    pub(in crate::primary) fn until(&self) -> Option<Time> {
        match self.direction {
            Direction::Up { until } => Some(until),
            Direction::Down => None,
        }
    }
}

/// The default for snapshots of older builds, which know no pools.
fn own() -> PoolIndex {
    OWN
}

fn is_own(pool_index: &PoolIndex) -> bool {
    *pool_index == OWN
}

/// A hard restart under way.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::primary) struct HardRestart {
    pub(in crate::primary) clients: Vec<ClientId>,
    pub(in crate::primary) to: Pools,
    pub(in crate::primary) stage: Stage,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::primary) enum Stage {
    /// `Action::OpenListeners` is under way. No worker is stopped before it succeeds.
    Opening,
    Stopping,
    /// The job waits until this time for the workers to be ready.
    Starting {
        until: Time,
    },
}

impl HardRestart {
    pub(in crate::primary) fn until(&self) -> Option<Time> {
        match self.stage {
            Stage::Starting { until } => Some(until),
            Stage::Opening | Stage::Stopping => None,
        }
    }

    /// Whether empty seats stay empty for now.
    pub(in crate::primary) fn empties(&self) -> bool {
        matches!(self.stage, Stage::Stopping)
    }
}

/// A stop under way.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::primary) struct Stopping {
    pub(in crate::primary) clients: Vec<ClientId>,
    /// The primary ends afterwards, with this code.
    pub(in crate::primary) exit: Option<u8>,
    /// `Action::OpenListeners` is under way.
    pub(in crate::primary) opening: bool,
    /// The listeners refuse new connections.
    pub(in crate::primary) gated: bool,
    /// They will, as soon as no worker waits for its `pre_stop`.
    #[serde(default)]
    pub(in crate::primary) gates: bool,
    /// The first start failed.
    pub(in crate::primary) failed: Option<FailedStart>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(in crate::primary) struct FailedStart {
    pub(in crate::primary) reason: String,
    pub(in crate::primary) last_lines: Vec<String>,
    /// No client has heard the reason yet. Until this time the primary waits for one to ask.
    pub(in crate::primary) until: Option<Time>,
}

impl Stopping {
    /// When the primary leaves even if no client has asked for the reason.
    pub(in crate::primary) fn linger(&self) -> Option<Time> {
        self.failed.as_ref().and_then(|failed| failed.until)
    }

    /// The answer to clients that want the app up.
    pub(in crate::primary) fn refusal(&self, plan: &Plan) -> Reply {
        match &self.failed {
            Some(failed) => {
                messages::failed(FailureKind::Failed, failed.reason.clone(), &failed.last_lines)
            }
            None => messages::failed(FailureKind::Failed, messages::is_stopping(plan), &[]),
        }
    }

    /// The reason that the status shows for the app.
    pub(in crate::primary) fn reason(&self) -> Option<&str> {
        self.failed.as_ref().map(|failed| failed.reason.as_str())
    }
}
