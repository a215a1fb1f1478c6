//! The jobs that change an app: start, stop, scale, merge, rollout, rollback, hard restart, new
//! values.

mod autoscale;
pub(crate) mod blue_green;
mod files_changed;
pub(crate) mod hard_restart;
pub(crate) mod merge;
pub(crate) mod observe;
pub(crate) mod pause;
mod queue;
pub(crate) mod rollback;
pub(crate) mod rollout;
pub(crate) mod scale;
mod schedule;
pub(crate) mod shared_values;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod stop;
