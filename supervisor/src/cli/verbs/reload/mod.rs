//! `reload`: replaces every worker, with the configuration as it is now.

mod shared_values;

use std::time::Duration;

use ipc::control::{LONGEST_KEPT, Method};

use crate::base::time::millis;
use crate::cli::exit::{Exit, Failure};
use crate::cli::replace::{ReplaceOptions, replace};
use crate::cli::session::Session;

/// Replace the workers one by one without losing a connection; if that fails, the old ones stay.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) options: ReplaceOptions,
    /// Replace nothing: send the file's "shared" values to the workers on the bus.
    #[arg(long, conflicts_with_all = ["env", "pool", "as_written", "update_env"])]
    pub(crate) config: bool,
    /// How the workers are replaced.
    #[arg(long, value_name = "STRATEGY", value_enum, conflicts_with_all = ["pool", "config"])]
    pub(crate) strategy: Option<Strategy>,
    /// With "blue-green": keep the old workers for this long, so that "rollback" can switch back to
    /// them; at most 7 days. Default: 0s.
    #[arg(long, value_name = "DURATION", value_parser = keep_old, requires = "strategy")]
    pub(crate) keep_old: Option<Duration>,
}

/// How the workers are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Strategy {
    /// One after the other; at most one worker more than wanted runs.
    Rolling,
    /// All at once, when a whole new generation is ready beside the old one: twice the workers.
    BlueGreen,
}

fn keep_old(text: &str) -> Result<Duration, String> {
    let span = config::units::duration(text).map_err(|error| error.to_string())?;
    match span > LONGEST_KEPT {
        true => Err("old workers are kept for at most 7 days".to_owned()),
        false => Ok(span),
    }
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let options = &args.options;
    if args.config {
        return shared_values::send(&options.names, &options.wait, session);
    }
    let groups = options.by_pool()?;
    if args.strategy != Some(Strategy::BlueGreen) {
        if args.keep_old.is_some() {
            return Err(Failure::usage("--keep-old needs --strategy blue-green"));
        }
        return replace(&groups, session, "reloading", |pool| Method::Rolling { pool });
    }
    if groups.iter().any(|options| options.pool.pool.is_some()) {
        let reason = "--strategy blue-green replaces whole apps: name the app without its pool";
        return Err(Failure::usage(reason));
    }
    let keep_old_ms = millis(args.keep_old.unwrap_or_default());
    replace(&groups, session, "reloading", |_| Method::BlueGreen { keep_old_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;

    #[test]
    fn its_strategy() {
        let args: Args = parse(&["web", "--strategy", "blue-green", "--keep-old", "10m"]).unwrap();
        assert_eq!(args.strategy, Some(Strategy::BlueGreen));
        assert_eq!(args.keep_old, Some(Duration::from_secs(600)));
        for wrong in [
            &["web", "--strategy", "canary"][..],
            &["web", "--keep-old", "1m"],
            &["web", "--strategy", "blue-green", "--keep-old", "8d"],
            &["web", "--strategy", "blue-green", "--pool", "mail"],
            &["web", "--strategy", "blue-green", "--config"],
        ] {
            assert!(parse::<Args>(wrong).is_err(), "{wrong:?}");
        }
    }
}
