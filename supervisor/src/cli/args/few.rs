//! The flags of verbs that have few.

use std::path::PathBuf;

use clap::Args;
use config::spec::Instances;

use super::Waiting;
use crate::cli::values::instances;

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The port to listen on.
    #[arg(long, value_name = "PORT", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// The address to listen on.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub(crate) host: std::net::IpAddr,
    /// How many workers. Default: max.
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, value_parser = instances)]
    pub(crate) instances: Option<Instances>,
    /// The app's name.
    #[arg(short, long, value_name = "NAME", default_value = "demo")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell.
    #[arg(value_name = "SHELL", value_parser = clap::value_parser!(clap_complete::Shell))]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Where to write them.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
}
