//! `bench`: measures an app by itself, under us, and under others.

use crate::cli::bench::{self, BenchOptions};
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;

/// Measure your app as one process, as bare copies, under each engine and balance, and under PM2,
/// gunicorn or Node's cluster, in turn. Exit code 1 if a request was not answered.
#[derive(Debug, clap::Args)]
#[command(override_usage = "supervisor bench [OPTIONS] -- COMMAND [ARG...]")]
pub(crate) struct Args {
    #[command(flatten)]
    options: BenchOptions,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    bench::run(&args.options, session)
}
