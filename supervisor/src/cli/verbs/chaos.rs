//! `chaos`: breaks things around an app under load, and counts what its clients lose.

use crate::cli::chaos::{self, ChaosOptions};
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;

/// Put load on an app while workers and the primary are killed, code is replaced and bad code is
/// deployed; and print what its clients lost. Exit code 1 if anything was lost.
#[derive(Debug, clap::Args)]
#[command(override_usage = "supervisor chaos [OPTIONS] -- COMMAND [ARG...]\n       \
                      supervisor chaos [OPTIONS] NAME --copy\n       \
                      supervisor chaos [OPTIONS] NAME --live")]
pub(crate) struct Args {
    #[command(flatten)]
    options: ChaosOptions,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    chaos::run(&args.options, session)
}
