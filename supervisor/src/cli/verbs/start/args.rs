//! The arguments of `start`.

use std::path::PathBuf;

use crate::cli::args::words::words;
use crate::cli::args::{AppOptions, WaitOptions};
use crate::runtime::LogFormat;

/// Start an app and return when it is ready, or has failed.
#[derive(Debug, clap::Args)]
#[command(override_usage = "supervisor start [OPTIONS] FILE [-- ARG...]\n       \
                      supervisor start [OPTIONS] -- COMMAND [ARG...]\n       \
                      supervisor start [OPTIONS] CONFIG...\n       \
                      supervisor start NAME...")]
pub(crate) struct Args {
    /// A script (.js .mjs .cjs .ts .py .rb .php .sh), an executable, a configuration file (.toml
    /// .yaml .json: flags go before its keys; several files, or a pattern such as 'conf.d/*.toml'),
    /// or the name of a stopped app. Default: supervisor.toml.
    #[arg(value_name = "FILE")]
    pub(crate) target: Vec<String>,
    /// After "--": the command to run with its arguments, or the arguments of FILE. Passed on as
    /// they are; ${fd:NAME} becomes the number of the socket of that --listen.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) rest: Vec<String>,
    /// Start only this app of the configuration file. May be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Choose the profile of this name, in each app of the configuration file that has it; --env
    /// NAME is the same. Later reloads keep it.
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Stay in the foreground and print what the workers write.
    #[arg(long, conflicts_with_all = ["no_wait", "timeout", "json"])]
    pub(crate) foreground: bool,
    /// What the foreground prints.
    #[arg(
        long,
        value_name = "FORMAT",
        requires = "foreground",
        default_value = "lines",
        value_parser = words::<LogFormat>()
    )]
    pub(crate) log_format: LogFormat,
    /// Run the app of a file that "startup" wrote. Units of systemd use it.
    #[arg(
        long,
        value_name = "FILE",
        hide = true,
        requires = "foreground",
        conflicts_with = "target"
    )]
    pub(crate) spec: Option<PathBuf>,
    /// Watch the folder of the app if nothing says what is watched. The verb `dev` sets it.
    #[arg(skip)]
    pub(crate) watch_anyway: bool,
    #[command(flatten)]
    pub(crate) wait: WaitOptions,
    #[command(flatten)]
    pub(crate) app: AppOptions,
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
