//! `send`: a message to an app's Node workers.

use ipc::control::Request;

use super::Session;
use super::args::{SendArgs, Waiting};
use super::ask::ask;
use super::exit::{Exit, Failure};
use super::targets::Targets;

pub(super) fn run(args: &SendArgs, session: &mut Session) -> Result<Exit, Failure> {
    let request = Request::Send { message: args.message.clone(), slot: args.slot };
    let targets = Targets::resolve(session, std::slice::from_ref(&args.name))?;
    targets.each(session, args.json, |session, name| {
        ask(&session.home, name, &request, "sending", &Waiting::default())
    })
}
