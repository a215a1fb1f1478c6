//! `events`: prints the notices of primaries as they come, until the primaries end or the reader of
//! stdout does; or those that were kept.

use std::ops::ControlFlow;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ipc::control::Notice;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::cli::args::when;
use crate::cli::exit::{Exit, Failure};
use crate::cli::logs::events;
use crate::cli::output;
use crate::cli::session::Session;
use crate::cli::targets::{Targets, probe};
use crate::client::Client;

/// How often the command checks whether stdout still has a reader.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Notices that wait to be printed. When there are as many, the primaries are not read.
const MAX_QUEUED: usize = 1024;

/// Show the events of an app, or of all apps, as they happen, or those that were kept.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which apps. Default: all that run.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Show those from this time on (10m, or 2026-11-27T19:11:38Z), and end.
    #[arg(long, value_name = "TIME", value_parser = when::when)]
    pub(crate) since: Option<u64>,
    /// Show the last N, and end.
    #[arg(long, value_name = "N")]
    pub(crate) last: Option<usize>,
    /// Print one JSON object per line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// From the threads that read the connections to the one that prints.
enum Message {
    Notice { app: String, notice: Notice },
    End { app: String, failure: Option<Failure> },
}

/// One line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    app: &'a str,
    #[serde(flatten)]
    notice: &'a Notice,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    if args.since.is_some() || args.last.is_some() {
        return print_kept(args, session);
    }
    let targets = Targets::named_or_all(session, &args.names)?;
    let mut exit = Exit::Done;
    let mut clients = Vec::new();
    for name in targets.names {
        match probe::connect(&session.home, &name) {
            Ok(client) => clients.push((name, client)),
            Err(failure) if targets.all && failure.exit == Exit::NoSuchApp => {}
            Err(failure) => {
                output::report(&failure);
                exit = exit.or_worse(failure.exit);
            }
        }
    }
    let (sender, messages) = mpsc::sync_channel(MAX_QUEUED);
    let mut open = clients.len();
    for (app, client) in clients {
        let sender = sender.clone();
        let started = thread::Builder::new().spawn(move || forward(app, client, &sender));
        started.map_err(|error| Failure::io("cannot start a thread to follow an app", &error))?;
    }
    while open > 0 && !session.out.is_closed() {
        match messages.recv_timeout(CHECK_INTERVAL) {
            Ok(Message::Notice { app, notice }) => print(session, args.json, &app, &notice),
            Ok(Message::End { app, failure }) => {
                open -= 1;
                match failure {
                    Some(failure) => {
                        output::report(&failure);
                        exit = exit.or_worse(failure.exit);
                    }
                    None => {
                        output::note(format_args!("supervisor: the primary of {app} has ended"));
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(exit)
}

/// Prints what was kept, in the order of time; for deleted apps, too.
fn print_kept(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let with_logs = session.home.apps_with_logs();
    let names = match args.names.is_empty() || args.names.iter().any(|name| name == "all") {
        true => with_logs.clone(),
        false => Targets::resolve(session, &args.names)?.names,
    };
    let mut exit = Exit::Done;
    let mut found: Vec<(&str, Notice)> = Vec::new();
    for app in &names {
        if !with_logs.contains(app) {
            let failure = probe::no_such_app(app);
            output::report(&failure);
            exit = exit.or_worse(failure.exit);
            continue;
        }
        let what = format_args!("cannot read the events of {app}");
        let kept = events::kept(&session.home, app).map_err(|error| Failure::io(what, &error))?;
        found.extend(kept.into_iter().map(|notice| (app.as_str(), notice)));
    }
    found.retain(|(_, notice)| args.since.is_none_or(|since| notice.unix_ms >= since));
    found.sort_by_key(|(_, notice)| notice.unix_ms);
    let skipped = args.last.map_or(0, |last| found.len().saturating_sub(last));
    for (app, notice) in &found[skipped..] {
        print(session, args.json, app, notice);
    }
    Ok(exit)
}

/// Sends the notices of one primary to the thread that prints.
fn forward(app: String, mut client: Client, sender: &mpsc::SyncSender<Message>) {
    let proceed = |sent: bool| match sent {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    };
    let ended = client.subscribe(
        CHECK_INTERVAL,
        || ControlFlow::Continue(()),
        |notice| {
            let notice = notice.clone();
            proceed(sender.send(Message::Notice { app: app.clone(), notice }).is_ok())
        },
    );
    let failure = match ended {
        Ok(refusal) => refusal.map(|refusal| Failure::unexpected_reply(&app, refusal)),
        Err(error) => Some(Failure::from(error)),
    };
    // An error means that the command is ending.
    let _ = sender.send(Message::End { app, failure });
}

fn print(session: &mut Session, json: bool, app: &str, notice: &Notice) {
    if json {
        match serde_json::to_string(&Line { app, notice }) {
            Ok(line) => session.out.line(line),
            Err(error) => output::note(format_args!("supervisor: cannot write JSON: {error}")),
        }
        return;
    }
    session.out.line(text(app, notice, &TimeZone::system()));
    for line in &notice.last_lines {
        session.out.line(format_args!("  | {line}"));
    }
}

/// `2026-11-20 12:00:00.123 web slot 0: ready`.
fn text(app: &str, notice: &Notice, zone: &TimeZone) -> String {
    let time = when::to_text(notice.unix_ms, zone);
    format!("{time} {app} {}", output::one_line(notice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipc::control::NoticeKind;

    fn notice() -> Notice {
        Notice {
            unix_ms: 1_000_000_000_123,
            event: NoticeKind::WorkerReady,
            slot: Some(0),
            worker: Some(1),
            pid: Some(12),
            generation: None,
            exit_code: None,
            message: "is ready".into(),
            last_lines: Vec::new(),
        }
    }

    #[test]
    fn text_and_json() {
        let line = text("web", &notice(), &TimeZone::UTC);
        assert_eq!(line, "2001-09-09 01:46:40.123 web slot 0: is ready");
        let line = serde_json::to_value(Line { app: "web", notice: &notice() }).unwrap();
        assert_eq!((&line["app"], &line["event"]), (&"web".into(), &"worker-ready".into()));
    }
}
