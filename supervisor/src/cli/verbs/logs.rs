//! `logs`: prints the last lines of an app's log files, or those of a time, and with `-f` the lines
//! that follow. The app may be deleted, as long as its logs are there.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::spec::LogTo;
use ipc::control::Request;
use jiff::tz::TimeZone;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use regex::bytes::Regex;

use crate::base::stream::Stream;
use crate::cli::args::{WaitOptions, when};
use crate::cli::exit::{Exit, Failure};
use crate::cli::files::follow::Follower;
use crate::cli::logs::filter::Filter;
use crate::cli::logs::forward::{Forward, Merged};
use crate::cli::logs::last::last;
use crate::cli::logs::line::{Form, Line, Parts};
use crate::cli::logs::paths::{LogPath, logs_of};
use crate::cli::logs::segment::{Segment, segments_and_damage};
use crate::cli::output;
use crate::cli::session::Session;
use crate::cli::side_by_side::Work;
use crate::cli::targets::{Targets, ask, probe};
use crate::runtime::json_line::{self, JsonLine};
use crate::sys::clock;

/// How often the files are read even if inotify reports nothing.
const READ_INTERVAL: Duration = Duration::from_secs(1);
/// Lines of each file where neither their number nor a time is given.
const LINES: usize = 15;
/// Bytes that are collected before they are written.
const CHUNK: usize = 64 * 1024;

/// Show what the workers wrote.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which apps. Default: all.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Continue with what is written from now on.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many of the last lines of each file; without a time, 15.
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) lines: Option<usize>,
    /// Only lines from this time on: 10m, or 2026-11-27T19:11:38Z, or "2026-11-27 19:11".
    #[arg(long, value_name = "TIME", value_parser = when::when)]
    pub(crate) since: Option<u64>,
    /// Only lines up to this time.
    #[arg(long, value_name = "TIME", value_parser = when::when, conflicts_with = "follow")]
    pub(crate) until: Option<u64>,
    /// Only lines that match this regular expression.
    #[arg(long, value_name = "RE")]
    pub(crate) grep: Option<Regex>,
    /// Only lines of the worker in this slot.
    #[arg(long, value_name = "N")]
    pub(crate) slot: Option<u16>,
    /// Only what was written to stderr.
    #[arg(long, conflicts_with = "out")]
    pub(crate) err: bool,
    /// Only what was written to stdout.
    #[arg(long)]
    pub(crate) out: bool,
    /// Begin each line with the time at which it was written.
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// Print what the workers wrote alone, without app and slot.
    #[arg(long)]
    pub(crate) no_prefix: bool,
    /// Print one JSON object per line.
    #[arg(long, conflicts_with_all = ["timestamps", "no_prefix"])]
    pub(crate) json: bool,
    /// Make the primary reopen its log files, after a rotation; print nothing.
    #[arg(long, conflicts_with_all = ["follow", "err", "out", "since", "until", "grep", "slot"])]
    pub(crate) reopen: bool,
}

/// Whose log a file is.
#[derive(Debug, Clone, Copy)]
struct Origin<'a> {
    app: &'a str,
    stream: Stream,
    form: Form,
}

/// A log that is read.
#[derive(Debug)]
struct Log<'a> {
    of: Origin<'a>,
    path: PathBuf,
    segments: Vec<Segment>,
}

/// How lines are printed.
#[derive(Debug)]
struct Printer {
    json: bool,
    timestamps: Option<TimeZone>,
    /// The name of the app stands before each line.
    names: bool,
    no_prefix: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    if args.reopen {
        let targets = Targets::named_or_all(session, &args.names)?;
        return targets.each(session, false, Work::Waits, |home, name| {
            ask(home, name, &Request::ReopenLogs, "reopening", &WaitOptions::default())
        });
    }
    let (names, exit) = apps_with_logs(session, &args.names)?;
    let printer = Printer {
        json: args.json,
        timestamps: args.timestamps.then(TimeZone::system),
        names: names.len() > 1,
        no_prefix: args.no_prefix,
    };
    let filter =
        Filter { since: args.since, until: args.until, grep: args.grep.clone(), slot: args.slot };
    let mut logs = open(args, session, &names)?;
    let mut followers = Vec::new();
    if args.follow {
        for log in &logs {
            let follower = Follower::behind(log.path.clone(), &log.segments)
                .map_err(|error| unreadable(&log.path, &error))?;
            followers.push((log.of, log.path.clone(), follower));
        }
    }
    let untimed = match args.lines.or_else(|| (!filter.is_by_time()).then_some(LINES)) {
        Some(count) => print_last(&mut logs, &filter, count, &printer, session)?,
        None => print_all(logs, &filter, &printer, session)?,
    };
    if untimed {
        output::note(
            "supervisor: lines that were written before their times were kept are left out; \
             without --since and --until they are shown",
        );
    }
    if !followers.is_empty() {
        follow(session, &mut followers, &filter, &printer)?;
    }
    Ok(exit)
}

/// The apps whose logs are printed: those that have logs, and those that exist and may get some.
fn apps_with_logs(session: &Session, given: &[String]) -> Result<(Vec<String>, Exit), Failure> {
    let with_logs = session.home.apps_with_logs();
    if given.is_empty() || given.iter().any(|name| name == "all") {
        return Ok((with_logs, Exit::Done));
    }
    let mut names = Targets::resolve(session, given)?.names;
    let known = session.home.apps()?;
    let mut exit = Exit::Done;
    names.retain(|name| {
        let is_there = with_logs.contains(name) || known.contains(name);
        if !is_there {
            let failure = probe::no_such_app(name);
            output::report(&failure);
            exit = exit.or_worse(failure.exit);
        }
        is_there
    });
    Ok((names, exit))
}

fn open<'a>(args: &Args, session: &Session, names: &'a [String]) -> Result<Vec<Log<'a>>, Failure> {
    let mut logs = Vec::new();
    for app in names {
        if let Some(record) = session.home.read_record(app)
            && let Some(place) = elsewhere(app, record.spec.logs.to)
        {
            output::note(format_args!("supervisor: {app}: {place}"));
        }
        for LogPath { stream, path, form } in logs_of(&session.home, app) {
            let is_wanted = match stream {
                Stream::Out => !args.err,
                Stream::Err => !args.out,
            };
            if is_wanted {
                let read = segments_and_damage(&path, form);
                let (segments, damage) = read.map_err(|error| unreadable(&path, &error))?;
                damage.iter().for_each(|why| output::note(format_args!("supervisor: {why}")));
                logs.push(Log { of: Origin { app, stream, form }, path, segments });
            }
        }
    }
    Ok(logs)
}

/// What to know about an app whose primary writes no log files.
fn elsewhere(app: &str, to: LogTo) -> Option<String> {
    match to {
        LogTo::Journald => {
            Some(format!("its lines are in the journal: journalctl SUPERVISOR_APP={app}"))
        }
        LogTo::Direct => {
            Some("its workers write the files themselves; no line has a slot or a time".to_owned())
        }
        LogTo::None => Some("nothing is kept of its lines (log = \"none\")".to_owned()),
        LogTo::Files | LogTo::Stdout => None,
    }
}

/// Prints the last `count` lines of each log in the order of time. Returns whether lines were left
/// out because their time is not known.
fn print_last(
    logs: &mut [Log<'_>],
    filter: &Filter,
    count: usize,
    printer: &Printer,
    session: &mut Session,
) -> Result<bool, Failure> {
    let mut untimed = false;
    let mut found: Vec<(u64, Origin<'_>, Line)> = Vec::new();
    for log in logs {
        let last = last(&mut log.segments, filter, count);
        let last = last.map_err(|error| unreadable(&log.path, &error))?;
        untimed |= last.left_out_untimed;
        found.extend(last.timed().map(|(time, line)| (time, log.of, line)));
    }
    found.sort_by_key(|(time, ..)| *time);
    let mut text = Vec::new();
    for (_, of, line) in found {
        printer.add(of, &line, &mut text);
    }
    session.out.bytes(&text);
    Ok(untimed)
}

/// Prints all lines that pass the filter in the order of time. Returns as [`print_last`].
fn print_all(
    logs: Vec<Log<'_>>,
    filter: &Filter,
    printer: &Printer,
    session: &mut Session,
) -> Result<bool, Failure> {
    let failed = |error: io::Error| Failure::io("cannot read the log files", &error);
    let logs: Vec<_> =
        logs.into_iter().map(|log| (log.of, Forward::new(log.segments, filter))).collect();
    let untimed = logs.iter().any(|(_, log)| log.left_out_untimed);
    let mut merged = Merged::new(logs).map_err(failed)?;
    let mut text = Vec::new();
    while let Some((of, line)) = merged.next_line().map_err(failed)? {
        printer.add(of, &line, &mut text);
        if text.len() >= CHUNK {
            session.out.bytes(&text);
            text.clear();
            if session.out.is_closed() {
                break;
            }
        }
    }
    session.out.bytes(&text);
    Ok(untimed)
}

/// Prints the lines that are added to the files, until the reader of stdout is gone.
fn follow(
    session: &mut Session,
    followers: &mut [(Origin<'_>, PathBuf, Follower)],
    filter: &Filter,
    printer: &Printer,
) -> Result<(), Failure> {
    let watch = watch(followers.iter().map(|(_, path, _)| path.as_path()));
    loop {
        for (of, path, follower) in followers.iter_mut() {
            let mut text = Vec::new();
            let time = Some(clock::unix_ms());
            let read = follower.more(&mut |line| {
                if filter.takes(line, of.form) {
                    printer.add(*of, &Line { time, bytes: line.to_vec() }, &mut text);
                }
                if text.len() >= CHUNK {
                    session.out.bytes(&text);
                    text.clear();
                }
            });
            read.map_err(|error| unreadable(path, &error))?;
            session.out.bytes(&text);
        }
        if session.out.is_closed() {
            return Ok(());
        }
        match &watch {
            Some(watch) => {
                if output::wait_readable(watch, READ_INTERVAL).unwrap_or(false) {
                    discard_events(watch);
                }
            }
            None => output::pause(READ_INTERVAL),
        }
    }
}

/// An inotify descriptor for the folders of these files; `None` if there can be none, so that the
/// files are read at intervals only.
fn watch<'a>(paths: impl Iterator<Item = &'a Path>) -> Option<Inotify> {
    let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok()?;
    let folders: BTreeSet<&Path> = paths.filter_map(Path::parent).collect();
    for folder in folders {
        // A folder that does not exist yet is found when the interval is over.
        let _ = watch.add_watch(
            folder,
            AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO,
        );
    }
    Some(watch)
}

/// Discards all events: every file is read, whichever has changed.
fn discard_events(watch: &Inotify) {
    while watch.read_events().is_ok() {}
}

impl Printer {
    /// Appends a line as it is printed.
    fn add(&self, of: Origin<'_>, line: &Line, to: &mut Vec<u8>) {
        if self.json {
            return json(of, line, to);
        }
        let parts = Parts::of(&line.bytes, of.form);
        match &self.timestamps {
            Some(zone) => {
                let time = line.time.map(|time| when::to_text(time, zone));
                to.extend_from_slice(format!("{:<23} ", time.as_deref().unwrap_or("-")).as_bytes());
            }
            None if self.no_prefix => {}
            None => to.extend_from_slice(parts.stamp),
        }
        if !self.no_prefix {
            if self.names {
                to.extend_from_slice(format!("{} ", of.app).as_bytes());
            }
            if let Some(slot) = parts.slot {
                let mark = if parts.continues { '>' } else { '|' };
                to.extend_from_slice(format!("{slot} {mark} ").as_bytes());
            }
        }
        to.extend_from_slice(parts.text);
        to.push(b'\n');
    }
}

fn json(of: Origin<'_>, line: &Line, to: &mut Vec<u8>) {
    let Parts { slot, continues, text, .. } = Parts::of(&line.bytes, of.form);
    let message = &String::from_utf8_lossy(text);
    let (time, stream) = (line.time.map(json_line::time), of.stream.word());
    JsonLine { time, app: of.app, slot, stream, continues, about: None, message }.append(to);
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::io(format_args!("cannot read the log {}", path.display()), error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;

    #[test]
    fn its_arguments() {
        let args: Args = parse(&[]).unwrap();
        assert_eq!((args.lines, args.follow, args.names.len()), (None, false, 0));
        let args: Args = parse(&["web", "-f", "-n", "3", "--err", "--since", "10m"]).unwrap();
        assert!(args.follow && args.err && args.lines == Some(3) && args.since.is_some());
        assert!(parse::<Args>(&["--err", "--out"]).is_err());
        assert!(parse::<Args>(&["--grep", "("]).is_err());
        assert!(parse::<Args>(&["--since", "soon"]).is_err());
    }

    #[test]
    fn how_lines_are_printed() {
        let line = Line { time: Some(1_000_000_000_123), bytes: b"3 | hello \xff".to_vec() };
        let of = Origin { app: "web", stream: Stream::Err, form: Form::Prefixed };
        let plain = Printer { json: false, timestamps: None, names: false, no_prefix: false };
        let text = |printer: &Printer, line: &Line| {
            let mut text = Vec::new();
            printer.add(of, line, &mut text);
            text
        };
        assert_eq!(text(&plain, &line), b"3 | hello \xff\n");
        let all = Printer { timestamps: Some(TimeZone::UTC), names: true, ..plain };
        assert_eq!(text(&all, &line), b"2001-09-09 01:46:40.123 web 3 | hello \xff\n");
        let untimed = Line { time: None, ..line.clone() };
        assert!(text(&all, &untimed).starts_with(b"-                       web 3"));
        let bare = Printer { no_prefix: true, timestamps: None, ..all };
        assert_eq!(text(&bare, &line), b"hello \xff\n");
        let json = Printer { json: true, ..bare };
        let value: serde_json::Value = serde_json::from_slice(&text(&json, &line)).unwrap();
        let expected = serde_json::json!({
            "time": "2001-09-09T01:46:40.123Z", "app": "web", "slot": 3, "stream": "stderr",
            "message": "hello \u{fffd}",
        });
        assert_eq!(value, expected);
    }
}
