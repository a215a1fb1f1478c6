//! `restart`: like reload, or with `--hard` everything at once.

use ipc::control::Request;

use super::Session;
use super::args::RestartArgs;
use super::exit::{Exit, Failure};
use super::reload::{groups, replace};

pub(super) fn run(args: &RestartArgs, session: &mut Session) -> Result<Exit, Failure> {
    if args.reload.config {
        let reason = "--config replaces nobody: use it with \"supervisor reload\"";
        return Err(Failure::usage(reason));
    }
    let (hard, groups) = (args.hard, groups(&args.reload)?);
    if hard && groups.iter().any(|group| group.pool.pool.is_some()) {
        return Err(Failure::usage("--hard stops all workers: name no pool"));
    }
    replace(&groups, session, "restarting", |spec, pool| match pool {
        Some(_) => Request::Reload { spec, pool },
        None => Request::Restart { hard, spec },
    })
}
