//! `let-calls-go-on`: answers the intercepted calls of processes that outlive their worker, until
//! none of them lives. Without an answer, each of their calls would fail with ENOSYS. A primary
//! runs this verb; it outlives the primary, as those processes may.

use std::io;
use std::os::fd::AsFd;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Stdout;
use crate::sys::seccomp;

/// Let the calls that come out of the descriptor on stdin go on.
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {}

/// Runs the verb.
pub(crate) fn run(_: &Args, _: &mut Stdout) -> Result<Exit, Failure> {
    seccomp::let_all_go_on(io::stdin().as_fd())
        .map_err(|error| Failure::io("cannot answer intercepted calls", &error))?;
    Ok(Exit::Done)
}
