//! `export`: writes the configuration file of what runs.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use config::Format;
use config::cpus::Cpus;
use config::export::{Environment, text};
use config::spec::AppSpec;

use crate::cli::args::words::words;
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::targets::{Targets, running_spec};

/// Print the configuration file of what runs: every key that differs from its default.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The apps.
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// The format. Default: that of the ending of the file, else TOML.
    #[arg(long, value_name = "FORMAT", value_parser = words::<Format>())]
    pub(crate) format: Option<Format>,
    /// Write into this file instead, which must not exist; only you can read it.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Write the values of the workers' variables instead of ${NAME}, and the shared values. They
    /// may be secrets.
    #[arg(long, requires = "output")]
    pub(crate) with_env: bool,
}

/// Runs the verb. Fails if an app does not run, or if the file exists.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    if !session.home.may_see_all() {
        return Err(Failure::new(
            Exit::NotPermitted,
            "only the apps' own user and root see what runs with all its values",
        ));
    }
    let names = Targets::resolve(session, &args.names)?.names;
    let specs = names.iter().map(|name| running_spec(&session.home, name));
    let specs = specs.collect::<Result<Vec<_>, _>>()?;
    let shares = |spec: &AppSpec| spec.shared.is_some();
    if let Some(spec) = specs.iter().find(|spec| shares(spec) && !args.with_env) {
        return Err(Failure::usage(format!(
            "{} has shared values, which may be secret: use --with-env -o FILE",
            spec.name
        )));
    }
    let ending = args.output.as_deref().and_then(Format::of);
    let format = args.format.or(ending).unwrap_or(Format::Toml);
    let environment = if args.with_env { Environment::Values } else { Environment::References };
    let text = text(&specs, format, environment, &Cpus::read()).map_err(Failure::failed)?;
    match &args.output {
        None => session.out.bytes(text.as_bytes()),
        Some(path) => {
            write(path, &text)?;
            session.out.line(format_args!("wrote {}: {}", path.display(), names.join(", ")));
        }
    }
    Ok(Exit::Done)
}

/// Writes a new file that only its owner can read.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let shown = path.display();
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::failed(format!(
            "{shown} is there already and stays as it is: name another file"
        )),
        _ => Failure::io(format_args!("cannot write {shown}"), &error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;

    #[test]
    fn values_of_variables_go_only_into_a_file() {
        assert!(parse::<Args>(&["web", "--with-env"]).is_err());
        let args: Args = parse(&["web", "--with-env", "-o", "f.toml"]).unwrap();
        assert!(args.with_env && args.format.is_none());
        assert!(parse::<Args>(&["web", "--format", "ini"]).is_err());
    }
}
