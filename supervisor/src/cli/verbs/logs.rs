//! `logs`: prints the last lines of an app's log files, and with `-f` the lines that follow. The
//! app may be deleted, as long as its logs are there.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ipc::control::Request;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::cli::args::WaitOptions;
use crate::cli::exit::{Exit, Failure};
use crate::cli::files::follow::Follower;
use crate::cli::output;
use crate::cli::session::Session;
use crate::cli::side_by_side::Work;
use crate::cli::targets::{Targets, ask, probe};

/// How often the files are read even if inotify reports nothing.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// Show what the workers wrote.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which apps. Default: all.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Continue with what is written from now on.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many of the last lines of each file.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 15)]
    pub(crate) lines: usize,
    /// Only what was written to stderr.
    #[arg(long, conflicts_with = "out")]
    pub(crate) err: bool,
    /// Only what was written to stdout.
    #[arg(long)]
    pub(crate) out: bool,
    /// Make the primary reopen its log files, after a rotation; print nothing.
    #[arg(long, conflicts_with_all = ["follow", "err", "out"])]
    pub(crate) reopen: bool,
}

/// A log file.
#[derive(Debug)]
struct LogFile {
    /// What stands before each line: the name of the app, if there are several.
    prefix: String,
    path: PathBuf,
    follower: Follower,
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
    let mut files = log_files(args, session, &names);
    for file in &mut files {
        let lines = file.follower.last(args.lines).map_err(|error| unreadable(file, &error))?;
        for line in lines {
            print(session, &file.prefix, &line);
        }
    }
    if args.follow && !files.is_empty() {
        follow(session, &names, &mut files)?;
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

fn log_files(args: &Args, session: &Session, names: &[String]) -> Vec<LogFile> {
    let mut files = Vec::new();
    for name in names {
        let prefix = if names.len() > 1 { format!("{name} ") } else { String::new() };
        let mut add = |path: PathBuf| {
            let follower = Follower::new(path.clone());
            files.push(LogFile { prefix: prefix.clone(), path, follower });
        };
        if !args.err {
            add(session.home.out_log(name));
        }
        if !args.out {
            add(session.home.err_log(name));
        }
    }
    files
}

/// Prints the lines that are added to the files, until the reader of stdout is gone.
fn follow(session: &mut Session, names: &[String], files: &mut [LogFile]) -> Result<(), Failure> {
    let watch = watch(session, names);
    loop {
        for file in files.iter_mut() {
            let LogFile { prefix, follower, .. } = file;
            follower
                .more(&mut |line| print(session, prefix, line))
                .map_err(|error| unreadable(file, &error))?;
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

/// An inotify descriptor for the log folders of the apps; `None` if there can be none, so that the
/// files are read at intervals only.
fn watch(session: &Session, names: &[String]) -> Option<Inotify> {
    let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok()?;
    for name in names {
        // A folder that does not exist yet is found when the interval is over.
        let _ = watch.add_watch(
            &session.home.log_dir(name),
            AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO,
        );
    }
    Some(watch)
}

/// Discards all events: every file is read, whichever has changed.
fn discard_events(watch: &Inotify) {
    while watch.read_events().is_ok() {}
}

fn print(session: &mut Session, prefix: &str, line: &[u8]) {
    session.out.bytes(&[prefix.as_bytes(), line, b"\n"].concat());
}

fn unreadable(file: &LogFile, error: &io::Error) -> Failure {
    Failure::io(format_args!("cannot read the log {}", file.path.display()), error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;

    #[test]
    fn its_arguments() {
        let args: Args = parse(&[]).unwrap();
        assert_eq!((args.lines, args.follow, args.names.len()), (15, false, 0));
        let args: Args = parse(&["web", "-f", "-n", "3", "--err"]).unwrap();
        assert!(args.follow && args.err && args.lines == 3);
        assert!(parse::<Args>(&["--err", "--out"]).is_err());
    }
}
