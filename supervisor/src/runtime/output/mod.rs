//! What workers and the primary write: log files, and the console in the foreground.

pub(crate) mod console;
pub(crate) mod logs;
