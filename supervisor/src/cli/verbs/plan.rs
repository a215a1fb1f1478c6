//! `plan`: shows what `apply` would do, and changes nothing.

use crate::cli::apply::{PlanOptions, plan, show};
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;

/// Show app by app and key by key what "apply" would do, and change nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) options: PlanOptions,
    /// Print an array of the apps as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let plan = plan(&args.options, session)?;
    show(&plan, args.json, session)
}
