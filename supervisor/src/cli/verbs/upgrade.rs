//! `upgrade`: replaces the supervisor of an app by another build, while its workers keep serving.

use std::path::{Path, PathBuf};

use ipc::control::Request;

use crate::cli::args::WaitOptions;
use crate::cli::exit::{Exit, Failure};
use crate::cli::launch::own_program;
use crate::cli::session::Session;
use crate::cli::side_by_side::Work;
use crate::cli::targets::{Targets, ask};

/// Replace the supervisor of an app by another build, while its workers keep serving.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Apps, or "all".
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// The program that takes over. Default: the program of this command.
    #[arg(long, value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) wait: WaitOptions,
}

/// Runs the verb. Fails if the program is not a file.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let binary = match &args.binary {
        Some(path) => program(path)?,
        None => own_program()?,
    };
    let targets = Targets::resolve(session, &args.names)?;
    targets.each(session, args.wait.json, Work::Replaces, |home, name| {
        let request = Request::Upgrade { binary: Some(binary.clone()) };
        ask(home, name, &request, "upgrading", &args.wait)
    })
}

/// The absolute path of a program.
fn program(path: &Path) -> Result<PathBuf, Failure> {
    let found = std::path::absolute(path)
        .and_then(|path| path.metadata().map(|meta| (path, meta)))
        .map_err(|error| Failure::io(format_args!("cannot use {}", path.display()), &error));
    match found? {
        (path, meta) if meta.is_file() => Ok(path),
        (path, _) => Err(Failure::usage(format!("{} is no program", path.display()))),
    }
}
