//! `trigger`: runs an action that the workers of an app have registered, and prints their answers.

use std::time::Duration;

use ipc::control::{Reply, Request};
use ipc::talk::{Answered, BusRequest};
use serde_json::Value;

use crate::cli::args::values::json;
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::targets::probe;

/// How much longer than the workers the primary may take to answer.
const GRACE: Duration = Duration::from_secs(5);

/// Run an action that an app's workers registered, and show their answers.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The app.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The action, as its workers registered it.
    #[arg(value_name = "ACTION")]
    pub(crate) action: String,
    /// The data for the action.
    #[arg(value_name = "JSON", value_parser = json, default_value = "null")]
    pub(crate) data: Value,
    /// Only this slot.
    #[arg(long, value_name = "N")]
    pub(crate) slot: Option<u16>,
    /// How long the workers may take.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = config::units::duration,
        default_value = "30s"
    )]
    pub(crate) timeout: Duration,
    /// Print an array of the answers as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the verb. The exit code is 1 if a worker failed.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    config::name::check(&args.name).map_err(Failure::usage)?;
    let mut client = probe::connect(&session.home, &args.name)?;
    let request = Request::Bus(BusRequest::Trigger {
        action: args.action.clone(),
        data: args.data.clone(),
        slot: args.slot,
        timeout_ms: u32::try_from(args.timeout.as_millis()).unwrap_or(u32::MAX).max(1),
    });
    let answers = match client.ask(&request, Some(args.timeout + GRACE), |_| {})? {
        Reply::Answers { answers } => answers,
        other => return Err(Failure::unexpected_reply(&args.name, other)),
    };
    if args.json {
        session.out.json(&answers)?;
    } else {
        for answer in &answers {
            session.out.line(text(answer));
        }
    }
    let failed = answers.iter().any(|answer| answer.error.is_some());
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

fn text(answer: &Answered) -> String {
    match (&answer.error, &answer.data) {
        (Some(error), _) => format!("slot {}: failed: {error}", answer.slot),
        (None, Some(Value::String(text))) => format!("slot {}: {text}", answer.slot),
        (None, Some(data)) => format!("slot {}: {data}", answer.slot),
        (None, None) => format!("slot {}: done", answer.slot),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_has_one_line() {
        let answer = |data, error| Answered { slot: 1, data, error };
        assert_eq!(text(&answer(Some("ok".into()), None)), "slot 1: ok");
        assert_eq!(text(&answer(Some(7.into()), None)), "slot 1: 7");
        assert_eq!(text(&answer(None, None)), "slot 1: done");
        assert_eq!(text(&answer(None, Some("no".to_owned()))), "slot 1: failed: no");
    }
}
