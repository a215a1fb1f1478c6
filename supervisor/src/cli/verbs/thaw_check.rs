//! `thaw-check`: tells whether this build can continue from the state on stdin. A primary asks
//! another build before it upgrades to it.
//!
//! Primaries of other builds run this verb by its name and read its answer: both must stay as they
//! are.

use std::io::{self, Read};

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Stdout;
use crate::runtime;
use crate::snapshot::LARGEST;

/// Tell whether this build can continue from the state on stdin.
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {}

/// Runs the verb. Changes nothing.
pub(crate) fn run(_: &Args, out: &mut Stdout) -> Result<Exit, Failure> {
    let mut state = Vec::new();
    io::stdin()
        .take(LARGEST as u64 + 1)
        .read_to_end(&mut state)
        .map_err(|error| Failure::io("cannot read the state from stdin", &error))?;
    runtime::check_state(&state)
        .map_err(|why| Failure::failed(format!("cannot go on from this state: {why}")))?;
    out.line(format_args!("{}{}", runtime::CAN_GO_ON, crate::version()));
    Ok(Exit::Done)
}
