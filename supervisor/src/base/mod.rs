//! What several rooms use and which itself uses none of them: ids, time, and how a process ended.

pub(crate) mod exit;
pub(crate) mod ids;
pub(crate) mod time;
