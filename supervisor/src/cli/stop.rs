//! `stop`: the workers end, the app stays known.

use ipc::control::Request;

use super::Session;
use super::args::StopArgs;
use super::ask::ask;
use super::exit::{Exit, Failure};
use super::targets::Targets;

pub(super) fn run(args: &StopArgs, session: &mut Session) -> Result<Exit, Failure> {
    let request = Request::Stop { fast: args.fast };
    Targets::resolve(session, &args.names)?.each(session, args.waiting.json, |session, name| {
        ask(&session.home, name, &request, "stopping", &args.waiting)
    })
}
