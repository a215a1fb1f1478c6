//! `man`: writes a man page for each verb, from the same definitions as the help.

use std::path::PathBuf;

use clap::Command;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Stdout;

/// Write the man pages into a folder.
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// Where to write them.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
}

/// Runs the verb. `command` defines all verbs.
pub(crate) fn run(args: &Args, command: Command, _: &mut Stdout) -> Result<Exit, Failure> {
    let shown = args.folder.display();
    std::fs::create_dir_all(&args.folder)
        .and_then(|()| clap_mangen::generate_to(command, &args.folder))
        .map_err(|error| {
            Failure::io(format_args!("cannot write man pages into {shown}"), &error)
        })?;
    Ok(Exit::Done)
}
