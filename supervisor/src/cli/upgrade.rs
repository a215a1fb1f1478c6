//! `upgrade`: another build of this program takes an app over while its workers serve on. And what
//! that build is asked before: whether it can go on from the state of the present one.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use ipc::control::Request;

use super::Session;
use super::args::Waiting;
use super::ask::ask;
use super::exit::{Exit, Failure};
use super::launch::own_program;
use super::output::Out;
use super::targets::Targets;
use crate::snapshot::LARGEST;

/// `upgrade`'s.
#[derive(Debug, Args)]
pub(crate) struct UpgradeArgs {
    /// Apps, or "all".
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// The program that is to take over; else the one that was typed.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    #[command(flatten)]
    waiting: Waiting,
}

pub(super) fn run(args: &UpgradeArgs, session: &mut Session) -> Result<Exit, Failure> {
    let binary = match &args.binary {
        Some(path) => program(path)?,
        None => own_program()?,
    };
    let targets = Targets::resolve(session, &args.names)?;
    targets.each(session, args.waiting.json, |session, name| {
        let request = Request::Upgrade { binary: Some(binary.clone()) };
        ask(&session.home, name, &request, "upgrading", &args.waiting)
    })
}

/// A path that means the same to another process.
fn program(path: &Path) -> Result<PathBuf, Failure> {
    let whole = std::path::absolute(path)
        .and_then(|path| path.metadata().map(|meta| (path, meta)))
        .map_err(|error| Failure::io(format_args!("cannot use {}", path.display()), &error));
    match whole? {
        (path, meta) if meta.is_file() => Ok(path),
        (path, _) => Err(Failure::usage(format!("{} is no program", path.display()))),
    }
}

/// Reads a state from stdin and says whether this build could go on from it. Changes nothing.
pub(super) fn thaw_check(out: &mut Out) -> Result<Exit, Failure> {
    let mut bytes = Vec::new();
    io::stdin()
        .take(LARGEST as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::io("cannot read the state from stdin", &error))?;
    crate::runtime::check_state(&bytes)
        .map_err(|why| Failure::failed(format!("cannot go on from this state: {why}")))?;
    out.line(format_args!("{}{}", crate::runtime::CAN_GO_ON, crate::version()));
    Ok(Exit::Done)
}
