//! `dev`: runs one app in the foreground for development: one worker, which is replaced when a file
//! changes.

use config::keys;

use super::start;
use crate::cli::args::words::words;
use crate::cli::args::{AppOptions, WaitOptions};
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;
use crate::runtime::LogFormat;

/// Run an app here for development: one worker, and a reload when a file changes.
#[derive(Debug, clap::Args)]
#[command(override_usage = "supervisor dev [OPTIONS] FILE [-- ARG...]\n       \
                      supervisor dev [OPTIONS] -- COMMAND [ARG...]\n       \
                      supervisor dev [OPTIONS] CONFIG")]
pub(crate) struct Args {
    /// A script, an executable or a configuration file, as for "start". Default: supervisor.toml.
    #[arg(value_name = "FILE")]
    target: Vec<String>,
    /// After "--": the command to run with its arguments, or the arguments of FILE.
    #[arg(last = true, value_name = "COMMAND")]
    rest: Vec<String>,
    /// Run this app of the configuration file.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Choose the profile of this name, as for "start".
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// How the output is printed.
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "lines",
        value_parser = words::<LogFormat>()
    )]
    log_format: LogFormat,
    #[command(flatten)]
    app: AppOptions,
}

/// Runs the verb: becomes the primary of the app, until Ctrl-C.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    start::run(&foreground(args)?, session)
}

/// The arguments of `start` that mean the same.
fn foreground(args: &Args) -> Result<start::Args, Failure> {
    let mut app = args.app.clone();
    if let Some(key) = keys::find("instances").filter(|key| !app.overrides.has(key.name)) {
        app.overrides.add(key, "1").map_err(Failure::usage)?;
    }
    Ok(start::Args {
        target: args.target.clone(),
        rest: args.rest.clone(),
        only: args.only.clone(),
        profile: args.profile.clone(),
        foreground: true,
        log_format: args.log_format,
        spec: None,
        watch_anyway: true,
        wait: WaitOptions::default(),
        app,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;

    #[test]
    fn one_worker_unless_more_are_asked_for() {
        let instances = |argv: &[&str]| {
            let start = foreground(&parse::<Args>(argv).unwrap()).unwrap();
            assert!(start.foreground && start.watch_anyway);
            start.app.overrides.flags()
        };
        assert_eq!(instances(&["server.js"]), ["--instances 1"]);
        assert_eq!(instances(&["-i", "2", "server.js"]), ["--instances 2"]);
    }
}
