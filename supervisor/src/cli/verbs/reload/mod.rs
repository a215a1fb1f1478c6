//! `reload`: replaces every worker, with the configuration as it is now.

mod shared_values;

use ipc::control::Method;

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
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let options = &args.options;
    if args.config {
        return shared_values::send(&options.names, &options.wait, session);
    }
    let groups = options.by_pool()?;
    replace(&groups, session, "reloading", |pool| Method::Rolling { pool })
}
