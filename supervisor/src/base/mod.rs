//! What several rooms share: ids, time, and how a process ended. It uses none of them.

pub(crate) mod exit;
pub(crate) mod ids;
pub(crate) mod time;
