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
    let Some(pool) = args.reload.pool.pool.clone() else {
        return replace(&args.reload, session, "restarting", |spec| Request::Restart {
            hard,
            spec,
        });
    };
    if hard {
        return Err(Failure::usage("--hard stops all workers: leave --pool away"));
    }
    let request = |spec| Request::Reload { spec, pool: Some(pool.clone()) };
    replace(&args.reload, session, "restarting", request)
}
