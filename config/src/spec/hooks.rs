//! Commands of the user's that run at moments of a worker's life.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The hooks of an app. A spec from an older build has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct Hooks {
    /// Before the program of a worker starts. If it fails, the program is not started.
    pub pre_start: Vec<String>,
    /// After a worker has become ready.
    pub post_ready: Vec<String>,
    /// Before a worker is told to stop; its drain begins afterwards.
    pub pre_stop: Vec<String>,
    /// After a worker has ended.
    pub post_stop: Vec<String>,
    /// After a worker has failed.
    pub on_crash: Vec<String>,
    /// After a reload was turned round.
    pub on_rollback: Vec<String>,
    /// When the first new worker of a reload has been observed. If it fails, the reload is rolled
    /// back.
    pub observe_check: Vec<String>,
    /// How long each of them may take.
    pub timeout: Duration,
}

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum HookKind {
    PreStart,
    PostReady,
    PreStop,
    PostStop,
    OnCrash,
    OnRollback,
    ObserveCheck,
}

impl HookKind {
    /// The key of the command.
    pub fn key(self) -> &'static str {
        match self {
            Self::PreStart => "pre_start",
            Self::PostReady => "post_ready",
            Self::PreStop => "pre_stop",
            Self::PostStop => "post_stop",
            Self::OnCrash => "on_crash",
            Self::OnRollback => "on_rollback",
            Self::ObserveCheck => "observe_check",
        }
    }
}

impl Hooks {
    /// The command of a hook, if there is one.
    pub fn command(&self, kind: HookKind) -> Option<&[String]> {
        let command = match kind {
            HookKind::PreStart => &self.pre_start,
            HookKind::PostReady => &self.post_ready,
            HookKind::PreStop => &self.pre_stop,
            HookKind::PostStop => &self.post_stop,
            HookKind::OnCrash => &self.on_crash,
            HookKind::OnRollback => &self.on_rollback,
            HookKind::ObserveCheck => &self.observe_check,
        };
        (!command.is_empty()).then_some(command)
    }

    /// Whether there is such a hook.
    pub fn has(&self, kind: HookKind) -> bool {
        self.command(kind).is_some()
    }
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            pre_start: Vec::new(),
            post_ready: Vec::new(),
            pre_stop: Vec::new(),
            post_stop: Vec::new(),
            on_crash: Vec::new(),
            on_rollback: Vec::new(),
            observe_check: Vec::new(),
            timeout: Duration::from_secs(30),
        }
    }
}
