//! `env`: prints the variables that an app was given, without their values unless `--show` is set.

use std::collections::BTreeMap;

use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::targets::running_spec;

/// Show the environment that was given to an app; values only with --show.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which app.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Show the values.
    #[arg(long)]
    pub(crate) show: bool,
    /// Print an object as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    config::name::check(&args.name).map_err(Failure::usage)?;
    let spec = running_spec(&session.home, &args.name)?;
    let shown: BTreeMap<&str, String> = spec
        .env
        .iter()
        .map(|(key, value)| (key.as_str(), if args.show { value.clone() } else { redacted(value) }))
        .collect();
    if args.json {
        session.out.json(&shown)?;
    } else {
        for (key, value) in shown {
            session.out.line(format_args!("{key}={value}"));
        }
    }
    Ok(Exit::Done)
}

/// The length of a value in its place.
fn redacted(value: &str) -> String {
    match value.len() {
        1 => "<redacted, 1 byte>".to_owned(),
        length => format!("<redacted, {length} bytes>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redacted_value_shows_its_length() {
        assert_eq!(redacted("hunter2hunte"), "<redacted, 12 bytes>");
        assert_eq!(redacted("x"), "<redacted, 1 byte>");
    }
}
