//! Which apps to stop, and how.

use clap::Args;

use super::WaitOptions;

/// The options of `stop` and `delete`.
#[derive(Debug, Args)]
pub(crate) struct StopOptions {
    /// Which apps; or a configuration file, for its apps.
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// Do not wait for connections to end.
    #[arg(long)]
    pub(crate) fast: bool,
    #[command(flatten)]
    pub(crate) wait: WaitOptions,
}
