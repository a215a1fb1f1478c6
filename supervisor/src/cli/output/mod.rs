//! What the user or a program sees: results on stdout, everything else on stderr.

mod poll;
mod progress;
mod stderr;
mod stdout;
pub(crate) mod table;
pub(crate) mod tone;

pub(crate) use poll::{pause, wait_readable};
pub(crate) use progress::{Progress, above_progress, one_line};
pub(crate) use stderr::{note, report, stderr_is_terminal};
pub(crate) use stdout::Stdout;
