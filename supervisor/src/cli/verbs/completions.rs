//! `completions`: for bash, zsh, fish, elvish and PowerShell, from the same definitions as the
//! help.

use clap::Command;
use clap_complete::Shell;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Stdout;

/// Print the completions for a shell.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which shell.
    #[arg(value_name = "SHELL", value_parser = clap::value_parser!(Shell))]
    pub(crate) shell: Shell,
}

/// Runs the verb. `command` defines all verbs.
pub(crate) fn run(args: &Args, mut command: Command, out: &mut Stdout) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "supervisor", &mut script);
    out.bytes(&script);
    Ok(Exit::Done)
}
