//! The two probes of a worker.

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ProbeKind {
    /// Whether the worker may get connections.
    Readiness,
    /// Whether it must be replaced.
    Liveness,
}

impl ProbeKind {
    pub(crate) const ALL: [Self; 2] = [Self::Readiness, Self::Liveness];
}
