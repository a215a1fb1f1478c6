//! `send`: sends a message to the workers of an app, on a topic of the bus or over the channel of
//! Node programs.

use ipc::control::Request;
use ipc::talk::BusRequest;

use crate::cli::args::{WaitOptions, values};
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::side_by_side::Work;
use crate::cli::targets::{Targets, ask};

/// Send a message to an app's workers, on a topic of the bus or as Node programs receive one.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
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

/// Runs the verb. Fails if the data is not JSON.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let value = |text: &String| {
        values::json(text).map_err(|why| Failure::usage(format!("the message {text:?} {why}")))
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
    targets.each(session, args.json, Work::Waits, |home, name| {
        ask(home, name, &request, "sending", &WaitOptions::default())
    })
}
