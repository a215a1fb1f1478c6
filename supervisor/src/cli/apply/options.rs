//! The options of `plan` and `apply`.

use std::path::PathBuf;

use clap::Args;

/// Which files, and which of their apps.
#[derive(Debug, Clone, Args)]
pub(crate) struct PlanOptions {
    /// The configuration files, or patterns such as 'conf.d/*.toml'. Together they name each app
    /// once.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Only this app. May be repeated, or several after commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Delete the apps that "apply" started from these files and that they no longer name.
    #[arg(long, conflicts_with = "only")]
    pub(crate) prune: bool,
    /// Choose the profile of this name, in each app that has it.
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Drop the flags that "start" was given beside a file; from now on only the files count.
    #[arg(long)]
    pub(crate) as_written: bool,
}
