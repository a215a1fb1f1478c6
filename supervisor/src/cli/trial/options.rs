//! The options that all trials have.

use std::time::Duration;

use clap::Args;

use super::values::path;

/// The longest run.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The clients, and the form of the result.
#[derive(Debug, Args)]
pub(crate) struct TrialOptions {
    /// Clients at once.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 16,
        value_parser = clap::value_parser!(u16).range(1..=512)
    )]
    pub(crate) connections: u16,
    /// The path that the clients ask for.
    #[arg(long, value_name = "PATH", default_value = "/", value_parser = path)]
    pub(crate) path: String,
    /// Print the result as JSON.
    #[arg(long, conflicts_with = "markdown")]
    pub(crate) json: bool,
    /// Print the result as Markdown.
    #[arg(long)]
    pub(crate) markdown: bool,
    /// The process that runs the trial: set by its guard.
    #[arg(long, hide = true)]
    pub(crate) guarded: bool,
}
