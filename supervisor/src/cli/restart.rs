//! `restart`: like reload, or with `--hard` everything at once.

use ipc::control::Request;

use super::Session;
use super::args::RestartArgs;
use super::exit::{Exit, Failure};
use super::reload::replace;

pub(super) fn run(args: &RestartArgs, session: &mut Session) -> Result<Exit, Failure> {
    if args.reload.config {
        let reason = "--config replaces nobody: use it with \"supervisor reload\"";
        return Err(Failure::usage(reason));
    }
    let hard = args.hard;
    replace(&args.reload, session, "restarting", |spec| Request::Restart { hard, spec })
}
