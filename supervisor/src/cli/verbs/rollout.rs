//! `rollout`: pauses, resumes or aborts the reload that is under way.

use std::time::Duration;

use clap::Subcommand;
use ipc::control::{LONGEST_PAUSE, Request, RolloutCommand};

use crate::base::time::millis;
use crate::cli::args::WaitOptions;
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::side_by_side::Work;
use crate::cli::targets::{Targets, ask};

/// Pause, resume or abort the reload that is under way.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Finish the slot under way and replace no other one; a part of the workers runs the new code.
    Pause {
        #[command(flatten)]
        which: Which,
        /// Roll the reload back if it is not resumed within this time; at most 7 days.
        #[arg(
            long = "for",
            value_name = "DURATION",
            value_parser = pause,
            default_value = "1h"
        )]
        within: Duration,
    },
    /// Go on with the next slot.
    Resume {
        #[command(flatten)]
        which: Which,
    },
    /// Go back to the code that served before; the waiting reload exits with code 4.
    Abort {
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Which apps.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    wait: WaitOptions,
}

fn pause(text: &str) -> Result<Duration, String> {
    let span = config::units::duration(text).map_err(|error| error.to_string())?;
    match span {
        Duration::ZERO => Err("a pause of no time does nothing".to_owned()),
        _ if span > LONGEST_PAUSE => Err("a pause is at most 7 days".to_owned()),
        _ => Ok(span),
    }
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let (which, command, activity) = match &args.command {
        Command::Pause { which, within } => {
            let for_ms = millis(*within);
            (which, RolloutCommand::Pause { for_ms }, "pausing the reload")
        }
        Command::Resume { which } => (which, RolloutCommand::Resume, "resuming the reload"),
        Command::Abort { which } => (which, RolloutCommand::Abort, "aborting the reload"),
    };
    let targets = Targets::resolve(session, &which.names)?;
    let request = Request::Rollout { command };
    targets.each(session, which.wait.json, Work::Waits, |home, name| {
        ask(home, name, &request, activity, &which.wait)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;

    #[test]
    fn its_arguments() {
        let args: Args = parse(&["pause", "web", "api"]).unwrap();
        let Command::Pause { which, within } = args.command else { panic!("{args:?}") };
        assert_eq!((which.names.len(), within), (2, Duration::from_secs(3600)));
        for wrong in [&["pause"][..], &["stop", "web"], &["pause", "web", "--for", "0s"]] {
            assert!(parse::<Args>(wrong).is_err(), "{wrong:?}");
        }
        assert!(parse::<Args>(&["pause", "web", "--for", "8d"]).is_err());
        assert!(parse::<Args>(&["resume", "web"]).is_ok());
        assert!(parse::<Args>(&["abort", "web", "--timeout", "1m"]).is_ok());
    }
}
