//! What the workers of an app may do and use.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the configuration asks for. A field that it leaves out stays as the supervisor was started
/// with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct Privileges {
    /// Groups (names or numbers) besides those of the user.
    pub groups: Vec<String>,
    /// The file mode creation mask.
    pub umask: Option<u16>,
    /// CPU priority, -20 (most) to 19 (least).
    pub nice: Option<i8>,
    /// How readily the kernel kills a worker when memory runs out, -1000 (never) to 1000.
    pub oom_score_adj: Option<i16>,
    /// Whether no program that a worker runs can gain privileges (setuid, file capabilities).
    pub no_new_privs: bool,
    /// Resource limits.
    pub limits: BTreeMap<Resource, Limit>,
    /// Ports that only root may open, and that a worker of another user gets all the same.
    pub ports: Vec<u16>,
}

/// A resource limit of setrlimit(2), by its name there in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum Resource {
    /// Address space in bytes.
    As,
    /// Size of a core dump in bytes.
    Core,
    /// CPU time in seconds.
    Cpu,
    /// Data segment in bytes.
    Data,
    /// Size of a file in bytes.
    Fsize,
    /// Locked memory in bytes.
    Memlock,
    /// POSIX message queues in bytes.
    Msgqueue,
    /// Ceiling of the priority: 20 - nice.
    Nice,
    /// Open files.
    Nofile,
    /// Processes and threads of the user.
    Nproc,
    /// Ceiling of the real-time priority.
    Rtprio,
    /// Queued signals of the user.
    Sigpending,
    /// Stack in bytes.
    Stack,
}

/// A soft and a hard limit; [`Limit::INFINITY`] is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub struct Limit {
    /// What applies. A worker may raise it up to the hard one.
    pub soft: u64,
    /// What only root can raise.
    pub hard: u64,
}

impl Limit {
    /// No limit, as the kernel writes it.
    pub const INFINITY: u64 = u64::MAX;
}
