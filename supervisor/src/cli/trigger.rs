//! `trigger`: an action that the workers of an app have registered.

use std::time::Duration;

use clap::Args;
use ipc::control::{Reply, Request};
use ipc::talk::{Answered, BusRequest};
use serde_json::Value;

use super::Session;
use super::ask::refused;
use super::exit::{Exit, Failure};
use super::probe;
use super::values::json;

/// How much longer than the workers the primary may take.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct TriggerArgs {
    /// The app.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The action, as its workers registered it.
    #[arg(value_name = "ACTION")]
    pub(crate) action: String,
    /// What to give to it.
    #[arg(value_name = "JSON", value_parser = json, default_value = "null")]
    pub(crate) data: Value,
    /// Only this slot.
    #[arg(long, value_name = "N")]
    pub(crate) slot: Option<u16>,
    /// How long the workers may take.
    #[arg(long, value_name = "DURATION", value_parser = config::units::duration, default_value = "30s")]
    pub(crate) timeout: Duration,
    /// Print an array of the answers as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(super) fn run(args: &TriggerArgs, session: &mut Session) -> Result<Exit, Failure> {
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
        Reply::Failed { kind, reason, last_lines } => {
            return Err(refused(&args.name, kind, &reason, last_lines));
        }
        Reply::Notice(_)
        | Reply::Done { .. }
        | Reply::Status(_)
        | Reply::Spec(_)
        | Reply::Metrics { .. } => {
            return Err(Failure::failed(format!(
                "the primary of {} answered something that was not asked for",
                args.name
            )));
        }
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
    fn one_line_for_each_worker() {
        let answer = |data, error| Answered { slot: 1, data, error };
        assert_eq!(text(&answer(Some("ok".into()), None)), "slot 1: ok");
        assert_eq!(text(&answer(Some(7.into()), None)), "slot 1: 7");
        assert_eq!(text(&answer(None, None)), "slot 1: done");
        assert_eq!(text(&answer(None, Some("no".to_owned()))), "slot 1: failed: no");
    }
}
