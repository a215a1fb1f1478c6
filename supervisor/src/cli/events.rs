//! `events`: what the primaries announce, as it happens, until they end or nobody reads any more.

use std::ops::ControlFlow;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ipc::control::Notice;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::Session;
use super::args::EventsArgs;
use super::exit::{Exit, Failure};
use super::output;
use super::probe;
use super::targets::Targets;
use crate::client::Client;

/// How often is looked whether anybody still reads.
const TICK: Duration = Duration::from_secs(1);

/// So many notices may wait to be printed; then the primaries have to wait.
const WAITING: usize = 1024;

/// From the threads that listen to the one that prints.
enum Heard {
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

pub(super) fn run(args: &EventsArgs, session: &mut Session) -> Result<Exit, Failure> {
    let given = if args.names.is_empty() { vec!["all".to_owned()] } else { args.names.clone() };
    let targets = Targets::resolve(session, &given)?;
    let mut exit = Exit::Done;
    let mut clients = Vec::new();
    for name in targets.names {
        match probe::connect(&session.home, &name) {
            Ok(client) => clients.push((name, client)),
            Err(failure) if targets.all && failure.exit == Exit::NoSuchApp => {}
            Err(failure) => {
                output::complain(&failure);
                exit = exit.or_worse(failure.exit);
            }
        }
    }
    let (sender, heard) = mpsc::sync_channel(WAITING);
    let mut open = clients.len();
    for (app, client) in clients {
        let sender = sender.clone();
        thread::spawn(move || listen(app, client, &sender));
    }
    while open > 0 && !session.out.is_gone() {
        match heard.recv_timeout(TICK) {
            Ok(Heard::Notice { app, notice }) => print(session, args.json, &app, &notice),
            Ok(Heard::End { app, failure }) => {
                open -= 1;
                match failure {
                    Some(failure) => {
                        output::complain(&failure);
                        exit = exit.or_worse(failure.exit);
                    }
                    None => {
                        output::remark(format_args!("supervisor: the primary of {app} has ended"))
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(exit)
}

fn listen(app: String, mut client: Client, heard: &mpsc::SyncSender<Heard>) {
    let go_on = |sent: bool| if sent { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
    let ended = client.subscribe(
        TICK,
        || ControlFlow::Continue(()),
        |notice| {
            let notice = notice.clone();
            go_on(heard.send(Heard::Notice { app: app.clone(), notice }).is_ok())
        },
    );
    // Nobody listens if the command ends first.
    let _ = heard.send(Heard::End { app, failure: ended.err().map(Failure::from) });
}

fn print(session: &mut Session, json: bool, app: &str, notice: &Notice) {
    if json {
        match serde_json::to_string(&Line { app, notice }) {
            Ok(line) => session.out.line(line),
            Err(error) => output::remark(format_args!("supervisor: cannot write JSON: {error}")),
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
    let ms = i64::try_from(notice.unix_ms).unwrap_or(i64::MAX);
    let time = Timestamp::from_millisecond(ms).map_or_else(
        |_| "-".to_owned(),
        |time| time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
    );
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
            message: "is ready".into(),
            last_lines: Vec::new(),
        }
    }

    #[test]
    fn for_people_and_for_programs() {
        let line = text("web", &notice(), &TimeZone::UTC);
        assert_eq!(line, "2001-09-09 01:46:40.123 web slot 0: is ready");
        let line = serde_json::to_value(Line { app: "web", notice: &notice() }).unwrap();
        assert_eq!((&line["app"], &line["event"]), (&"web".into(), &"worker-ready".into()));
    }
}
