//! The jobs that change an app: start, stop, scale, rollout, rollback, hard restart, new values.

pub(crate) mod hard_restart;
pub(crate) mod queue;
pub(crate) mod rollback;
pub(crate) mod rollout;
pub(crate) mod scale;
pub(crate) mod shared_values;
pub(crate) mod start;
pub(crate) mod stop;
