//! Asks a primary for something that takes its time, and shows what happens meanwhile.

use ipc::control::{FailureKind, Reply, Request};

use super::args::Waiting;
use super::exit::Failure;
use super::output::Progress;
use super::probe;
use super::targets::Said;
use crate::home::Home;

/// Asks `name` for `request` and waits for the end of it, as `waiting` says. `doing`: what to show
/// meanwhile (`reloading`).
pub(crate) fn ask(
    home: &Home,
    name: &str,
    request: &Request,
    doing: &str,
    waiting: &Waiting,
) -> Result<Said, Failure> {
    let mut client = probe::connect(home, name)?;
    if waiting.no_wait {
        client.tell(request)?;
        return Ok(Said::new(format!("{doing} goes on in the background")));
    }
    let progress = Progress::begin(format_args!("{name}: {doing}"));
    let reply = client.ask(request, waiting.timeout, |notice| progress.notice(notice));
    drop(progress);
    let reply = reply.map_err(|error| {
        let mut failure = Failure::from(error);
        if waiting.timeout.is_some() && failure.exit == super::exit::Exit::TimedOut {
            failure.reason = format!("{}; {doing} goes on in the background", failure.reason);
        }
        failure
    })?;
    match reply {
        Reply::Done { message } => Ok(Said::new(without_name(name, &message))),
        Reply::Failed { kind, reason, last_lines } => Err(refused(name, kind, &reason, last_lines)),
        Reply::Notice(_)
        | Reply::Status(_)
        | Reply::Spec(_)
        | Reply::Answers { .. }
        | Reply::Metrics { .. } => Err(Failure::failed(format!(
            "the primary of {name} answered something that was not asked for"
        ))),
    }
}

/// A primary's sentence as it stands behind `NAME: `.
fn without_name<'a>(name: &str, message: &'a str) -> &'a str {
    let rest = message.strip_prefix(name);
    rest.and_then(|rest| rest.strip_prefix(": ").or_else(|| rest.strip_prefix(" is ")))
        .unwrap_or(message)
}

/// A primary's refusal, with the name of its app.
pub(crate) fn refused(
    name: &str,
    kind: FailureKind,
    reason: &str,
    last_lines: Vec<String>,
) -> Failure {
    let rest = reason.strip_prefix(name);
    let named = rest.is_some_and(|rest| rest.starts_with([' ', ':', ',', '\'']));
    let reason = if named { reason.to_owned() } else { format!("{name}: {reason}") };
    Failure { exit: kind.into(), reason, last_lines }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_said_once() {
        assert_eq!(without_name("web", "web: 2 workers now"), "2 workers now");
        assert_eq!(without_name("web", "web is stopped"), "stopped");
        assert_eq!(without_name("web", "webs are fine"), "webs are fine");
    }

    #[test]
    fn a_refusal_names_its_app_once() {
        let reason = |text| refused("web", FailureKind::Failed, text, Vec::new()).reason;
        assert_eq!(reason("slot 0 failed"), "web: slot 0 failed");
        assert_eq!(reason("web: slot 0 failed"), "web: slot 0 failed");
        assert_eq!(reason("web is stopped"), "web is stopped");
        assert_eq!(reason("website is down"), "web: website is down");
    }
}
