//! `schema`: prints the JSON Schema of configuration files.

use config::keys::schema;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Stdout;

/// Print the JSON Schema of configuration files, for editors.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the verb.
pub(crate) fn run(_: &Args, out: &mut Stdout) -> Result<Exit, Failure> {
    out.bytes(schema::text().as_bytes());
    Ok(Exit::Done)
}
