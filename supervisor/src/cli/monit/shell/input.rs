//! What the threads report to the loop.

use crate::cli::monit::model::Event;

/// One report.
#[derive(Debug)]
pub(super) enum Input {
    Event(Event),
    /// This process got SIGTSTP.
    Suspend,
}
