//! `signal`: sends a signal to the main process of each worker, or of one.

use ipc::control::Request;

use crate::cli::args::WaitOptions;
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::side_by_side::Work;
use crate::cli::targets::{Targets, ask};

/// Send a signal to the main process of each worker, or of one.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which app, or "all".
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Which signal: HUP, SIGUSR1, 10.
    #[arg(value_name = "SIGNAL", value_parser = config::signal::parse)]
    pub(crate) signal: i32,
    /// Only the worker of this slot.
    #[arg(long, value_name = "N")]
    pub(crate) slot: Option<u16>,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let request = Request::Signal { signal: args.signal, slot: args.slot };
    let targets = Targets::resolve(session, std::slice::from_ref(&args.name))?;
    targets.each(session, args.json, Work::Waits, |home, name| {
        ask(home, name, &request, "signalling", &WaitOptions::default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;

    #[test]
    fn its_arguments() {
        let args: Args = parse(&["web", "hup", "--slot", "1"]).unwrap();
        assert_eq!((args.signal, args.slot), (1, Some(1)));
        assert!(parse::<Args>(&["web", "0"]).is_err());
    }
}
