//! `delete`: the workers end, the primary ends, the app is forgotten. Also what ends the workers
//! of a primary that is gone.

use std::time::Duration;

use ipc::control::Request;

use super::Session;
use super::args::StopArgs;
use super::ask::ask;
use super::exit::{Exit, Failure};
use super::probe::{self, Seen};
use super::targets::{Said, Targets};

/// How long a primary that has said it is done may take to be gone.
const GONE: Duration = Duration::from_secs(5);

pub(super) fn run(args: &StopArgs, session: &mut Session) -> Result<Exit, Failure> {
    Targets::resolve(session, &args.names)?
        .each(session, args.waiting.json, |session, name| one(args, session, name))
}

fn one(args: &StopArgs, session: &Session, name: &str) -> Result<Said, Failure> {
    let home = &session.home;
    match probe::look(home, name)? {
        Seen::Nothing => return Err(probe::no_such_app(name)),
        Seen::Lost(lost) => return lost.end(home, name).map(Said::new),
        Seen::Status(_) | Seen::Silent(_) => {}
    }
    let request = Request::Delete { fast: args.fast };
    let said = ask(home, name, &request, "deleting", &args.waiting)?;
    if !args.waiting.no_wait {
        // So that the name is free when this command returns.
        probe::wait_for_end(home, name, GONE)?;
    }
    Ok(said)
}
