//! Whether a command waits for the result of its request, and how it prints that.

use std::time::Duration;

use clap::Args;

/// Whether, and for how long, the command waits.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct WaitOptions {
    /// Return as soon as it is under way.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Wait at most this long, then exit with code 5; what was begun goes on.
    #[arg(long, value_name = "DURATION", value_parser = config::units::duration)]
    pub(crate) timeout: Option<Duration>,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
