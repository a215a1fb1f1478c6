//! `explain`: prints why an app is in its state: what happened, what its program wrote last, what
//! comes next, and what one can do. All of it is decided by the types of states and events.

use ipc::control::{AppStatus, Notice, NoticeKind, Status, WorkerState, WorkerStatus};
use ipc::worker_status::HealthVerdict;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::cli::args::when;
use crate::cli::exit::{Exit, Failure};
use crate::cli::logs::events;
use crate::cli::output::tone::Tone;
use crate::cli::output::{self, table};
use crate::cli::session::Session;
use crate::cli::sheet::{self, Row, Section};
use crate::cli::targets::{Targets, probe};

/// Events that are shown.
const EVENTS: usize = 12;
/// Slots that are named.
const SLOTS: usize = 8;

/// Say why an app is in its state: what happened, what comes next, what you can do.
#[derive(Debug, clap::Args)]
#[command(visible_alias = "why")]
pub(crate) struct Args {
    /// Which apps.
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// Print an array of explanations as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Why one app is in its state.
#[derive(Debug, Serialize)]
struct Explanation {
    app: String,
    status: Status,
    reason: Option<String>,
    /// The slots that are not ready: what each does, and why.
    slots: Vec<Slot>,
    /// What happened, the oldest first.
    events: Vec<Notice>,
    /// What the program wrote to stderr before its last failure.
    last_lines: Vec<String>,
    next: String,
    /// Commands that help.
    commands: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Slot {
    slot: u16,
    state: WorkerState,
    reason: Option<String>,
    /// Milliseconds until the primary tries again.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try_ms: Option<u64>,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let targets = Targets::resolve(session, &args.names)?;
    let mut exit = Exit::Done;
    let mut all = Vec::new();
    let statuses = probe::statuses(&session.home, &targets.names);
    for (name, status) in targets.names.iter().zip(statuses) {
        let failure = match status {
            Ok(Some(app)) => {
                let what = format_args!("cannot read the events of {name}");
                let kept = events::kept(&session.home, name);
                let kept = kept.map_err(|error| Failure::io(what, &error))?;
                all.push(explain(app, kept));
                continue;
            }
            Ok(None) if targets.all => continue,
            Ok(None) => probe::no_such_app(name),
            Err(failure) => failure,
        };
        output::report(&failure);
        exit = exit.or_worse(failure.exit);
    }
    if args.json {
        session.out.json(&all)?;
        return Ok(exit);
    }
    let (width, colours) = (session.out.width(), session.out.has_colours());
    for (at, one) in all.iter().enumerate() {
        if at > 0 {
            session.out.line("");
        }
        let text = text(one, &TimeZone::system(), width, colours);
        session.out.bytes(text.as_bytes());
    }
    Ok(exit)
}

fn explain(app: AppStatus, kept: Vec<Notice>) -> Explanation {
    let mut events: Vec<Notice> =
        kept.into_iter().filter(|event| events::matters(event.event)).collect();
    let skipped = events.len().saturating_sub(EVENTS);
    events.drain(..skipped);
    let reload = events
        .iter()
        .rev()
        .find(|event| matches!(event.event, NoticeKind::ReloadDone | NoticeKind::ReloadRolledBack));
    // The kept events may be those of a deleted app of the same name.
    let rolled_back = app.last_reload.is_some()
        && reload.is_some_and(|event| event.event == NoticeKind::ReloadRolledBack);
    let is_well = matches!(app.status, Status::Ready | Status::Stopped) && !rolled_back;
    let code_is_bad = app.status == Status::Ready && rolled_back;
    let failure = events.iter().rev().find(|event| !event.last_lines.is_empty());
    let last_lines = failure.filter(|_| !is_well).map(|event| event.last_lines.clone());
    let is_unwell = |worker: &&WorkerStatus| worker.state != WorkerState::Ready || fails(worker);
    let slots = app.workers.iter().filter(is_unwell);
    let slots = slots.map(|worker| Slot {
        slot: worker.slot,
        state: worker.state,
        reason: worker.reason.clone(),
        next_try_ms: worker.next_try_ms,
    });
    let starts = app.workers.iter().any(|worker| worker.state.is_coming());
    let next_try = app.workers.iter().filter_map(|worker| worker.next_try_ms).min();
    Explanation {
        next: match code_is_bad {
            true => ROLLED_BACK.to_owned(),
            false if app.ready == app.wanted && app.workers.iter().any(fails) => PROBED.to_owned(),
            false => next(app.status, next_try, starts),
        },
        // What helps is the same as for workers that fail.
        commands: commands(if code_is_bad { Status::Degraded } else { app.status }, &app.name),
        slots: slots.take(SLOTS).collect(),
        app: app.name,
        status: app.status,
        reason: app.reason,
        events,
        last_lines: last_lines.unwrap_or_default(),
    }
}

/// What comes next if every worker is ready and the last reload was rolled back.
const ROLLED_BACK: &str = "nothing: the workers from before the last reload serve, until one of \
     them ends: its successor runs what lies on disk";

/// What comes next if every worker is ready and the readiness of some fails.
const PROBED: &str = "each worker gets connections again as soon as its readiness passes";

fn fails(worker: &WorkerStatus) -> bool {
    let verdict = worker.readiness.as_ref().map(|health| health.verdict);
    verdict == Some(HealthVerdict::Fails)
}

/// What happens if you do nothing. `next_try`: milliseconds until an empty slot gets a worker;
/// `starts`: a worker is being started.
fn next(status: Status, next_try: Option<u64>, starts: bool) -> String {
    let what = match status {
        Status::Ready => "nothing: every wanted worker is ready",
        Status::Stopped => "nothing, until you start it again",
        Status::Stopping => "the workers finish what they have, and end",
        Status::Reloading => "the reload goes on; if the new workers fail, the old ones stay",
        Status::Starting | Status::Degraded | Status::Errored => match next_try {
            Some(ms) if ms >= 1000 => {
                let span = table::uptime(ms);
                return format!("the primary starts a worker in the empty slot in {span}");
            }
            Some(_) => "the primary starts a worker in the empty slot at once",
            None if starts => "a worker is being started",
            None => "nothing: the primary does not try to start the missing workers again",
        },
        Status::Unresponsive => {
            "nothing is decided for this app until its primary answers; what serves goes on serving"
        }
        Status::Lost => "nothing: no primary decides for this app",
        Status::Unknown => {
            "this build does not know the app's status: use the supervisor of its primary"
        }
    };
    what.to_owned()
}

fn commands(status: Status, app: &str) -> Vec<String> {
    let verbs: &[&str] = match status {
        Status::Ready => &["describe NAME"],
        Status::Stopped => &["restart NAME", "delete NAME"],
        Status::Stopping | Status::Reloading => &["events NAME", "logs -f NAME"],
        Status::Starting => &["logs -f NAME", "describe NAME"],
        Status::Degraded | Status::Errored => {
            &["logs NAME --err -n 50", "reload NAME", "restart NAME", "stop NAME"]
        }
        Status::Unresponsive => &["list NAME", "logs NAME --err -n 50"],
        Status::Lost => &["describe NAME", "delete NAME"],
        Status::Unknown => &["describe NAME"],
    };
    verbs.iter().map(|verb| format!("supervisor {}", verb.replace("NAME", app))).collect()
}

/// How it is shown: `width` columns wide if there is a terminal.
fn text(one: &Explanation, zone: &TimeZone, width: Option<u16>, colours: bool) -> String {
    let section = |heading: &str, rows| Section { heading: heading.to_owned(), rows };
    let lines = |lines: Vec<String>| lines.into_iter().map(Row::Line).collect();
    let last = one.last_lines.iter().map(|line| format!("| {line}")).collect();
    let sections = [
        section("what happened", happened(&one.events, zone)),
        section("what the program wrote last", lines(last)),
        section("what comes next", lines(vec![one.next.clone()])),
        section("what you can do", lines(one.commands.clone())),
    ];
    format!("{}\n{}", head(one, width, colours), sheet::text(&sections, width, colours))
}

/// The state with its reason, and what each slot does that is not ready.
fn head(one: &Explanation, width: Option<u16>, colours: bool) -> String {
    let is = format!("{} is {}", one.app, one.status.word());
    let because = one.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let mut text = sheet::paragraph(&format!("{is}{because}"), width);
    if colours && text.starts_with(&is) {
        let word = Tone::of(one.status).painted(one.status.word());
        text.replace_range(..is.len(), &format!("{} is {word}", sheet::bold(&one.app, true)));
    }
    text.push('\n');
    for Slot { slot, state, reason, .. } in &one.slots {
        let reason = reason.as_deref().unwrap_or_default();
        let is_said = one.reason.as_ref() == Some(&format!("slot {slot}: {reason}"));
        if is_said {
            continue;
        }
        let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let line = sheet::paragraph(&format!("  slot {slot} is {state}{because}"), width);
        text.push_str(&format!("{line}\n"));
    }
    text
}

/// The events with their times. What one says after another is not said again.
fn happened(events: &[Notice], zone: &TimeZone) -> Vec<Row> {
    let lines: Vec<String> = events.iter().map(output::one_line).collect();
    let before = std::iter::once("").chain(lines.iter().map(String::as_str));
    let rows = events.iter().zip(&lines).zip(before).map(|((event, line), before)| {
        let again = format!(": {before}");
        let line = line.strip_suffix(&again).filter(|_| !before.is_empty()).unwrap_or(line);
        Row::pair(when::to_text(event.unix_ms, zone), line)
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::targets::fake_primary as fake;
    use ipc::worker_status::Health;

    #[test]
    fn a_failing_probe_is_explained() {
        let mut app = fake::status("web", Status::Degraded);
        (app.ready, app.wanted) = (1, 1);
        let health = Health { verdict: HealthVerdict::Fails, failures: 3, reason: None };
        app.workers[0].state = WorkerState::Ready;
        app.workers[0].readiness = Some(health);
        app.workers[0].reason = Some("gets no new connections".to_owned());
        let text = text(&explain(app, Vec::new()), &TimeZone::UTC, None, false);
        assert!(text.contains("  slot 0 is ready: gets no new connections\n"), "{text}");
        assert!(text.contains(PROBED), "{text}");
    }

    #[test]
    fn a_crash_is_explained() {
        let mut app = fake::status("web", Status::Degraded);
        app.reason = Some("slot 0 waits".to_owned());
        app.workers[0].state = WorkerState::Waiting;
        app.workers[0].next_try_ms = Some(3200);
        app.workers[0].reason = Some("restarts in 3s: exit code 1".to_owned());
        let failed = Notice {
            unix_ms: 1_000_000_000_123,
            slot: Some(0),
            last_lines: vec!["no such module".to_owned()],
            ..Notice::of_app(NoticeKind::WorkerFailed, "died: exit code 1".to_owned())
        };
        let started = Notice::of_app(NoticeKind::WorkerStarted, "started".to_owned());
        let again = Notice {
            unix_ms: 1_000_000_000_124,
            ..Notice::of_app(
                NoticeKind::AppStatus,
                "web is degraded: slot 0: died: exit code 1".to_owned(),
            )
        };
        let one = explain(app, vec![started, failed, again]);
        let shown = |width, colours| text(&one, &TimeZone::UTC, width, colours);
        let expected = "web is degraded: slot 0 waits\n  \
                        slot 0 is waiting: restarts in 3s: exit code 1\n\n\
                        what happened\n  \
                        2001-09-09 01:46:40.123  slot 0: died: exit code 1\n  \
                        2001-09-09 01:46:40.124  web is degraded\n\n\
                        what the program wrote last\n  \
                        | no such module\n\n\
                        what comes next\n  \
                        the primary starts a worker in the empty slot in 3s\n\n\
                        what you can do\n";
        let text = shown(None, false);
        assert!(text.starts_with(expected), "{text}");
        let narrow = shown(Some(40), true);
        let heads = "\u{1b}[1mweb\u{1b}[0m is \u{1b}[31mdegraded\u{1b}[0m: slot 0 waits\n";
        assert!(narrow.starts_with(heads), "{narrow}");
        let expected = "the primary starts a worker in the\n    empty slot in 3s\n";
        assert!(narrow.contains(expected), "{narrow}");
        assert!(text.contains("  supervisor logs web --err -n 50\n"), "{text}");
    }

    #[test]
    fn what_comes_next() {
        assert!(next(Status::Errored, Some(15_000), false).ends_with("in 15s"));
        assert!(next(Status::Errored, None, false).starts_with("nothing"));
        assert!(next(Status::Starting, None, true).contains("being started"));
        assert!(next(Status::Degraded, Some(20), true).ends_with("at once"));
    }

    #[test]
    fn a_reload_that_was_rolled_back_is_explained() {
        let failed = Notice {
            last_lines: vec!["no such module".to_owned()],
            ..Notice::of_app(NoticeKind::WorkerFailed, "died".to_owned())
        };
        let back = Notice::of_app(NoticeKind::ReloadRolledBack, "rolled back".to_owned());
        let done = Notice::of_app(NoticeKind::ReloadDone, "done".to_owned());
        let status = || AppStatus {
            last_reload: Some("rolled back".to_owned()),
            ..fake::status("web", Status::Ready)
        };
        let one = explain(status(), vec![failed.clone(), back.clone()]);
        assert_eq!(one.last_lines, ["no such module"]);
        assert!(one.next.contains("runs what lies on disk"), "{}", one.next);
        assert!(one.commands.iter().any(|command| command.contains("logs web --err")));
        let another = fake::status("web", Status::Ready);
        let one = explain(another, vec![failed.clone(), back.clone()]);
        assert!(one.next.contains("every wanted"), "an app of the same name was deleted");
        let one = explain(status(), vec![failed, back, done]);
        assert!(one.last_lines.is_empty() && one.next.contains("every wanted worker is ready"));
    }

    #[test]
    fn what_is_well_needs_no_lines_of_a_failure() {
        let failed = Notice {
            last_lines: vec!["long ago".to_owned()],
            ..Notice::of_app(NoticeKind::WorkerFailed, "died".to_owned())
        };
        let mut app = fake::status("web", Status::Ready);
        app.workers[0].state = WorkerState::Ready;
        let one = explain(app, vec![failed; 30]);
        assert_eq!((one.last_lines.len(), one.slots.len(), one.events.len()), (0, 0, EVENTS));
        assert!(one.next.starts_with("nothing"), "{}", one.next);
    }
}
