//! `restart`: replaces every worker like `reload`, or with `--hard` stops all of them first.

use ipc::control::Method;

use crate::cli::exit::{Exit, Failure};
use crate::cli::replace::{ReplaceOptions, replace};
use crate::cli::session::Session;

/// Replace the workers of an app as reload does; with --hard, stop all, then start all.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Stop all workers first, then start them: connections are lost, listeners are not.
    #[arg(long)]
    pub(crate) hard: bool,
    #[command(flatten)]
    pub(crate) options: ReplaceOptions,
}

/// Runs the verb. Fails if `--hard` is limited to a pool.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let (hard, groups) = (args.hard, args.options.by_pool()?);
    if hard && groups.iter().any(|group| group.pool.pool.is_some()) {
        return Err(Failure::usage("--hard stops the workers of all pools: name no pool"));
    }
    replace(&groups, session, "restarting", |pool| match hard {
        true => Method::Hard,
        false => Method::Rolling { pool },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;

    #[test]
    fn its_arguments() {
        let args: Args = parse(&["--hard", "a", "b", "-e", "K=V"]).unwrap();
        assert!(args.hard);
        assert_eq!(args.options.names, ["a", "b"]);
        assert!(parse::<Args>(&[]).is_err());
        assert!(parse::<Args>(&["web", "--config"]).is_err(), "only reload has it");
    }
}
