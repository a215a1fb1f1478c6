//! `rollback`: switches back to the workers that a reload by blue/green has kept.

use ipc::control::Request;

use crate::cli::args::WaitOptions;
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::side_by_side::Work;
use crate::cli::targets::{Targets, ask};

/// Switch back to the old workers that a blue/green reload has kept.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which apps.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    wait: WaitOptions,
}

/// Runs the verb. Fails if no old workers are there.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let targets = Targets::resolve(session, &args.names)?;
    targets.each(session, args.wait.json, Work::Waits, |home, name| {
        ask(home, name, &Request::Rollback, "switching back", &args.wait)
    })
}
