//! `signal`: to the main process of each worker, or of one.

use ipc::control::Request;

use super::Session;
use super::args::{SignalArgs, Waiting};
use super::ask::ask;
use super::exit::{Exit, Failure};
use super::targets::Targets;

pub(super) fn run(args: &SignalArgs, session: &mut Session) -> Result<Exit, Failure> {
    let request = Request::Signal { signal: args.signal, slot: args.slot };
    let targets = Targets::resolve(session, std::slice::from_ref(&args.name))?;
    targets.each(session, args.json, |session, name| {
        ask(&session.home, name, &request, "signalling", &Waiting::default())
    })
}
