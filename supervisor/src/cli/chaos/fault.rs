//! What is done to an app.

use config::words::{self, Word};
use serde::{Serialize, Serializer};

/// One kind of trouble. The order is that of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fault {
    Reload,
    Scale,
    KillWorker,
    StopWorker,
    KillPrimary,
    Upgrade,
    DeployExits,
    DeployThrows,
    DeployHangs,
    KillPrimaryInReload,
    KillWorkerInReload,
    FillQueue,
}

impl Word for Fault {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("reload", Self::Reload, "replace all workers"),
        ("scale", Self::Scale, "one worker more, and back"),
        ("kill-worker", Self::KillWorker, "SIGKILL for a worker and its processes"),
        ("stop-worker", Self::StopWorker, "SIGSTOP for a worker, and SIGCONT a while later"),
        ("kill-primary", Self::KillPrimary, "SIGKILL for the primary"),
        ("upgrade", Self::Upgrade, "another primary of the same build takes over"),
        ("deploy-exits", Self::DeployExits, "a deploy whose program exits at once"),
        ("deploy-throws", Self::DeployThrows, "a deploy whose program fails a moment later"),
        ("deploy-hangs", Self::DeployHangs, "a deploy whose program never listens"),
        (
            "kill-primary-in-reload",
            Self::KillPrimaryInReload,
            "SIGKILL for the primary in the middle of a reload",
        ),
        (
            "kill-worker-in-reload",
            Self::KillWorkerInReload,
            "SIGKILL for a worker in the middle of a reload",
        ),
        (
            "fill-queue",
            Self::FillQueue,
            "SIGSTOP for all workers, and connections until their queues are full",
        ),
    ];
}

impl Fault {
    /// Every kind, in the order of the table.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::WORDS.iter().map(|(_, fault, _)| *fault)
    }

    /// The word for it, on the command line and in reports.
    pub(crate) fn word(self) -> &'static str {
        words::word(self)
    }

    /// What it does, for people.
    pub(crate) fn meaning(self) -> &'static str {
        Self::WORDS.iter().find(|(_, fault, _)| *fault == self).map_or("", |(.., text)| text)
    }

    /// Whether it kills a worker, which the restart policy of the app counts.
    pub(crate) fn kills_a_worker(self) -> bool {
        matches!(self, Self::KillWorker | Self::KillWorkerInReload)
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}
