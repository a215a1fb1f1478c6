//! Requests to the primary of an app.

use std::time::Duration;

use config::spec::AppSpec;
use ipc::control::{FailureKind, Reply, Request};

use super::outcome::Outcome;
use super::probe;
use crate::cli::args::WaitOptions;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Progress;
use crate::home::Home;

/// How long a primary may take to send its spec.
const SPEC_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends `request` to the primary of `name`, shows its notices, and waits for its answer as `wait`
/// says. `activity` names what happens meanwhile ("reloading"). Fails with the reason of the
/// primary if it refuses.
pub(crate) fn ask(
    home: &Home,
    name: &str,
    request: &Request,
    activity: &str,
    wait: &WaitOptions,
) -> Result<Outcome, Failure> {
    let mut client = probe::connect(home, name)?;
    if wait.no_wait {
        if let Some(refusal) = client.tell(request)? {
            return Err(Failure::unexpected_reply(name, refusal));
        }
        return Ok(Outcome::new(format!("{activity} goes on in the background")));
    }
    let progress = Progress::start(name, activity);
    let reply = client.ask(request, wait.timeout, |notice| progress.notice(notice));
    drop(progress);
    let reply = reply.map_err(|error| {
        let mut failure = Failure::from(error);
        if wait.timeout.is_some() && failure.exit == Exit::TimedOut {
            failure.reason = format!("{}; {activity} goes on in the background", failure.reason);
        }
        failure
    })?;
    match reply {
        Reply::Done { message, cut } => {
            Ok(Outcome { cut, ..Outcome::new(without_name(name, &message)) })
        }
        Reply::Failed { kind: FailureKind::Usage, reason, .. } if is_unknown(&reason) => {
            Err(Failure::failed(format!(
                "the primary of {name} is of an older build, which does not know this request: run \
                 \"supervisor upgrade {name}\" first"
            )))
        }
        other => Err(Failure::unexpected_reply(name, other)),
    }
}

/// Whether a primary refused a request whose name it does not know: serde says so.
fn is_unknown(reason: &str) -> bool {
    reason.contains("unknown variant")
}

/// The spec that the primary of `name` runs now.
pub(crate) fn running_spec(home: &Home, name: &str) -> Result<AppSpec, Failure> {
    let mut client = probe::connect(home, name)?;
    match client.ask(&Request::Spec, Some(SPEC_TIMEOUT), |_| {})? {
        Reply::Spec(spec) => Ok(*spec),
        other => Err(Failure::unexpected_reply(name, other)),
    }
}

/// The message of a primary without the name of the app at its beginning.
pub(crate) fn without_name<'a>(name: &str, message: &'a str) -> &'a str {
    let rest = message.strip_prefix(name);
    rest.and_then(|rest| rest.strip_prefix(": ").or_else(|| rest.strip_prefix(" is ")))
        .unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_an_older_primary_does_not_know_is_recognized() {
        let line = br#"{"request":"of-tomorrow"}"#;
        let refusal = serde_json::from_slice::<Request>(line).unwrap_err();
        assert!(is_unknown(&refusal.to_string()), "{refusal}");
        assert!(!is_unknown("web has no pool hash"));
    }

    #[test]
    fn the_name_is_not_repeated() {
        assert_eq!(without_name("web", "web: 2 workers now"), "2 workers now");
        assert_eq!(without_name("web", "web is stopped"), "stopped");
        assert_eq!(without_name("web", "webs are fine"), "webs are fine");
    }
}
