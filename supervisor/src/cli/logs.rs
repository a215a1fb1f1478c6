//! `logs`: the last lines of an app's files, and with `-f` what follows. Also for apps that are
//! gone, as long as their logs are there.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use ipc::control::Request;
use rustix::fs::inotify;

use super::Session;
use super::args::{LogsArgs, Waiting};
use super::ask::ask;
use super::exit::{Exit, Failure};
use super::follow::Follower;
use super::output;
use super::probe;
use super::targets::Targets;

/// The files are looked at so often even if nothing is heard of them.
const AT_LEAST: Duration = Duration::from_secs(1);

/// A file and what goes before each of its lines.
#[derive(Debug)]
struct Source {
    prefix: String,
    path: PathBuf,
    follower: Follower,
}

pub(super) fn run(args: &LogsArgs, session: &mut Session) -> Result<Exit, Failure> {
    let given = if args.names.is_empty() { vec!["all".to_owned()] } else { args.names.clone() };
    if args.reopen {
        let targets = Targets::resolve(session, &given)?;
        return targets.each(session, false, |session, name| {
            ask(&session.home, name, &Request::ReopenLogs, "reopening", &Waiting::default())
        });
    }
    let (names, exit) = logged(session, &given)?;
    let mut sources = sources(args, session, &names);
    for source in &mut sources {
        let lines = source.follower.last(args.lines).map_err(|error| unreadable(source, &error))?;
        for line in lines {
            print(session, &source.prefix, &line);
        }
    }
    if args.follow && !sources.is_empty() {
        follow(session, &names, &mut sources)?;
    }
    Ok(exit)
}

/// The apps that have logs, or are there and may yet have some.
fn logged(session: &Session, given: &[String]) -> Result<(Vec<String>, Exit), Failure> {
    let with_logs = session.home.logged();
    if given.iter().any(|name| name == "all") {
        return Ok((with_logs, Exit::Done));
    }
    let mut names = Targets::resolve(session, given)?.names;
    let known = session.home.apps()?;
    let mut exit = Exit::Done;
    names.retain(|name| {
        let is_there = with_logs.contains(name) || known.contains(name);
        if !is_there {
            let failure = probe::no_such_app(name);
            output::complain(&failure);
            exit = exit.or_worse(failure.exit);
        }
        is_there
    });
    Ok((names, exit))
}

fn sources(args: &LogsArgs, session: &Session, names: &[String]) -> Vec<Source> {
    let mut sources = Vec::new();
    for name in names {
        let prefix = if names.len() > 1 { format!("{name} ") } else { String::new() };
        let mut add = |path: PathBuf| {
            let follower = Follower::new(path.clone());
            sources.push(Source { prefix: prefix.clone(), path, follower });
        };
        if !args.err {
            add(session.home.out_log(name));
        }
        if !args.out {
            add(session.home.err_log(name));
        }
    }
    sources
}

/// Prints what is added to the files until nobody reads any more.
fn follow(session: &mut Session, names: &[String], sources: &mut [Source]) -> Result<(), Failure> {
    let watch = watch(session, names);
    loop {
        for source in sources.iter_mut() {
            let Source { prefix, follower, .. } = source;
            follower
                .more(&mut |line| print(session, prefix, line))
                .map_err(|error| unreadable(source, &error))?;
        }
        if session.out.is_gone() {
            return Ok(());
        }
        match &watch {
            Some(watch) => {
                if output::readable(watch, AT_LEAST).unwrap_or(false) {
                    forget_events(watch);
                }
            }
            None => output::pause(AT_LEAST),
        }
    }
}

/// Hears of changes in the folders of the apps; `None`: it cannot, and looking now and then must do.
fn watch(session: &Session, names: &[String]) -> Option<OwnedFd> {
    use inotify::{CreateFlags, WatchFlags};
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
    for name in names {
        // A folder that is not there yet is found by looking now and then.
        let _ = inotify::add_watch(
            &watch,
            session.home.log_dir(name),
            WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO,
        );
    }
    Some(watch)
}

/// What happened does not matter, all files are looked at.
fn forget_events(watch: &OwnedFd) {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(watch, &mut buffer);
    while reader.next().is_ok() {}
}

fn print(session: &mut Session, prefix: &str, line: &[u8]) {
    session.out.bytes(&[prefix.as_bytes(), line, b"\n"].concat());
}

fn unreadable(source: &Source, error: &io::Error) -> Failure {
    Failure::io(format_args!("cannot read the log {}", source.path.display()), error)
}
