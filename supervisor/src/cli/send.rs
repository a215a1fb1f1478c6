//! `send`: a message to an app's Node workers.

use clap::Args;
use ipc::control::Request;

use super::Session;
use super::args::Waiting;
use super::ask::ask;
use super::exit::{Exit, Failure};
use super::targets::Targets;
use super::values::json;

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// The app.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The message.
    #[arg(value_name = "JSON", value_parser = json)]
    pub(crate) message: serde_json::Value,
    /// Only to this slot.
    #[arg(long, value_name = "N")]
    pub(crate) slot: Option<u16>,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(super) fn run(args: &SendArgs, session: &mut Session) -> Result<Exit, Failure> {
    let request = Request::Send { message: args.message.clone(), slot: args.slot };
    let targets = Targets::resolve(session, std::slice::from_ref(&args.name))?;
    targets.each(session, args.json, |session, name| {
        ask(&session.home, name, &request, "sending", &Waiting::default())
    })
}
