//! `send`: a message to an app's workers: on a topic of the bus, or as Node programs get one.

use clap::Args;
use ipc::control::Request;
use ipc::talk::BusRequest;

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
    /// A topic of the bus and the data for it; or only the data, for process.on('message') of
    /// Node programs.
    #[arg(value_names = ["[TOPIC]", "JSON"], num_args = 1..=2, required = true)]
    pub(crate) message: Vec<String>,
    /// Only to this slot.
    #[arg(long, value_name = "N")]
    pub(crate) slot: Option<u16>,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(super) fn run(args: &SendArgs, session: &mut Session) -> Result<Exit, Failure> {
    let value = |text: &String| {
        json(text).map_err(|why| Failure::usage(format!("the message {text:?} {why}")))
    };
    let slot = args.slot;
    let request = match args.message.as_slice() {
        [topic, data] => {
            Request::Bus(BusRequest::Emit { topic: topic.clone(), data: value(data)?, slot })
        }
        [data] => Request::Send { message: value(data)?, slot },
        _ => return Err(Failure::usage("send NAME [TOPIC] JSON")),
    };
    let targets = Targets::resolve(session, std::slice::from_ref(&args.name))?;
    targets.each(session, args.json, |session, name| {
        ask(&session.home, name, &request, "sending", &Waiting::default())
    })
}
