//! `apply`: makes what runs what configuration files want.

use crate::cli::apply::{PlanOptions, carry_out, plan, show};
use crate::cli::args::WaitOptions;
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;

/// Start, change and delete apps until they are as the files want them; once more does nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) options: PlanOptions,
    /// Do nothing, and show what would be done: the same as "plan".
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) wait: WaitOptions,
}

/// Runs the verb. An app that fails leaves the others as planned.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let plan = plan(&args.options, session)?;
    match args.dry_run {
        true => show(&plan, args.wait.json, session),
        false => carry_out(&plan, session, &args.wait),
    }
}
