//! A trial runs in a process of its own. Its parent, the guard, does nothing but clear away what
//! the trial has started, in whatever way the trial ends: done, failed, broken off by Ctrl-C,
//! killed, or aborted by a panic.
//!
//! The trial tells the guard what there is to do before it exists, over its stdin, which is a
//! socket. If the guard is killed, the trial gets SIGTERM, ends early, and clears away itself.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipc::lines::{LineReader, to_line};
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;

use super::interrupt::Interrupt;
use super::options::TrialOptions;
pub(crate) use super::ward::Duty;
use super::ward::Ward;
use crate::cli::exit::{Exit, Failure};
use crate::cli::launch::own_program;
use crate::cli::output::pause;
use crate::cli::session::Session;
use crate::home::Home;
use crate::sys::exec::OWN_PROGRAM;
use crate::sys::pidfd::{self, Pid};
use crate::sys::poll::poll;
use crate::sys::strays::Stray;
use crate::sys::target;

/// The flag of the process that is guarded.
const FLAG: &str = "--guarded";
/// How often the guard looks whether a signal has come.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often what a trial has left behind is looked for, and killed.
const SWEEPS: usize = 20;
const SWEEP_PAUSE: Duration = Duration::from_millis(50);

/// Runs this command again with `FLAG`, guards it, and returns how it ended. `verb`: the verb of
/// the command line. `adopts`: what the trial starts, and what that starts, comes to the guard when
/// its parent ends, and is killed in the end.
fn run(home: &Home, verb: &str, adopts: bool) -> Result<Exit, Failure> {
    let cannot = |error: &io::Error| Failure::io(format_args!("cannot start {verb}"), error);
    if adopts {
        nix::sys::prctl::set_child_subreaper(true).map_err(|error| cannot(&error.into()))?;
    }
    let signals = Interrupt::new()?;
    let (mut duties, theirs) = UnixStream::pair().map_err(|error| cannot(&error))?;
    let program = own_program()?;
    // If its file was removed, the kernel still has the program.
    let program = if program.is_file() { program } else { OWN_PROGRAM.into() };
    let mut command = Command::new(program);
    command.args(arguments(std::env::args_os().skip(1), verb)).stdin(OwnedFd::from(theirs));
    let mut trial = command.spawn().map_err(|error| cannot(&error))?;
    // Its end of the socket is the trial's alone from here on.
    drop(command);
    let mut ward = Ward::new(home.clone());
    let watched = watch(&mut trial, &mut duties, &mut ward, &signals, adopts);
    if watched.is_err() {
        // An error means that it has ended.
        let _ = trial.kill();
    }
    ward.clear();
    if adopts {
        sweep();
    }
    watched.map_err(|error| Failure::io(format_args!("cannot guard {verb}"), &error))?;
    let status = trial.wait().map_err(|error| cannot(&error))?;
    match (status.code().and_then(|code| u8::try_from(code).ok()), status.signal()) {
        (Some(code), _) => Ok(Exit::Primary(code)),
        (None, signal) => Err(Failure::failed(format!(
            "{verb} was ended by {}; what it had started is cleared away",
            signal.and_then(config::signal::name).unwrap_or("a signal")
        ))),
    }
}

/// Runs a trial: in the process that the user started, under a guard (`run`); in that of the trial,
/// with what breaks it off. `adopts`: see `run`.
pub(crate) fn guarded(
    options: &TrialOptions,
    session: &mut Session,
    (verb, adopts): (&str, bool),
    trial: impl FnOnce(&mut Session, &Guard, &Interrupt) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    if !options.guarded {
        return run(&session.home, verb, adopts);
    }
    let guard = Guard::take(&session.home)?;
    let interrupt = Interrupt::new()?;
    let done = trial(session, &guard, &interrupt);
    guard.end();
    done
}

/// The arguments of the trial: those of this process, with the flag after the verb.
fn arguments(given: impl Iterator<Item = OsString>, verb: &str) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = given.collect();
    let at = arguments.iter().position(|word| word == verb).map_or(0, |at| at + 1);
    arguments.insert(at, FLAG.into());
    arguments
}

/// Takes duties until the trial has ended. Signals that came here alone are passed on.
fn watch(
    trial: &mut Child,
    duties: &mut UnixStream,
    ward: &mut Ward,
    signals: &Interrupt,
    adopts: bool,
) -> io::Result<()> {
    let end = pidfd::open(Pid(trial.id()))?;
    duties.set_nonblocking(true)?;
    let mut reader = LineReader::default();
    let (mut told, mut is_open) = (false, true);
    loop {
        let mut sources = [
            PollFd::new(end.as_fd(), PollFlags::POLLIN),
            PollFd::new(duties.as_fd(), PollFlags::POLLIN),
        ];
        // Once it is closed, only the end of the process is to come.
        poll(&mut sources[..1 + usize::from(is_open)], Some(LOOK_EVERY))?;
        let has_ended = sources[0].any().unwrap_or(false);
        is_open = is_open && read(duties, &mut reader, ward)?;
        if has_ended {
            return Ok(());
        }
        if signals.came() && !told {
            told = true;
            // It may have ended just now.
            let _ = pidfd::signal(end.as_fd(), Signal::SIGTERM as i32);
        }
        if adopts {
            reap(trial.id());
        }
    }
}

/// Takes note of the ends of processes that came here. Otherwise their numbers look alive.
fn reap(trial: u32) {
    let me = std::process::id();
    for child in target::children_of(me).into_iter().filter(|child| *child != trial) {
        // It may run still.
        let _ = pidfd::reap_child(Pid(child));
    }
}

/// Takes all duties that are there. `false`: the trial has closed its end.
fn read(duties: &mut UnixStream, reader: &mut LineReader, ward: &mut Ward) -> io::Result<bool> {
    let mut bytes = [0; 4096];
    loop {
        match duties.read(&mut bytes) {
            Ok(0) => return Ok(false),
            Ok(count) => reader.push(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The trial has ended with something unread; that is its end.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => return Err(error),
        }
        while let Some(duty) = reader.next_message().map_err(io::Error::other)? {
            ward.take(duty);
        }
    }
}

/// Kills all processes that come from this one.
fn sweep() {
    let me = std::process::id();
    for _ in 0..SWEEPS {
        let all = || target::descendants(me).into_iter().filter(|pid| *pid != me);
        let mut left: Vec<Stray> = all().filter_map(Stray::of).collect();
        // Numbers that have changed hands before that are no descendants' any more.
        let still: BTreeSet<u32> = all().collect();
        left.retain(|one| still.contains(&one.pid));
        if left.is_empty() {
            return;
        }
        left.into_iter().for_each(|one| one.signal(Signal::SIGKILL as i32));
        pause(SWEEP_PAUSE);
    }
}

/// The trial's end: where it tells what is to be cleared away.
#[derive(Debug, Clone)]
pub(crate) struct Guard(Arc<Mutex<Told>>);

#[derive(Debug)]
struct Told {
    socket: UnixStream,
    /// The same, for the case that the guard is gone.
    ward: Ward,
    guard: u32,
}

impl Guard {
    /// The guard of this process. From now on this process ends when the guard does.
    fn take(home: &Home) -> Result<Self, Failure> {
        let cannot = |error: &io::Error| Failure::io("cannot use the guard", error);
        nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(|error| cannot(&error.into()))?;
        let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(|error| cannot(&error))?;
        let socket = UnixStream::from(stdin);
        if socket.peer_addr().is_err() {
            return Err(Failure::usage(format!("{FLAG} is for the supervisor itself")));
        }
        let guard = std::os::unix::process::parent_id();
        Ok(Self(Arc::new(Mutex::new(Told { socket, ward: Ward::new(home.clone()), guard }))))
    }

    /// Tells it what is to be done. Fails if the guard is gone.
    pub(crate) fn tell(&self, duty: Duty) -> Result<(), Failure> {
        let line = to_line(&duty).map_err(|error| Failure::failed(error.to_string()))?;
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.ward.take(duty);
        told.socket.write_all(&line).map_err(|error| Failure::io("the guard is gone", &error))
    }

    /// The trial is over. If the guard is gone, this process clears away.
    fn end(&self) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if std::os::unix::process::parent_id() != told.guard {
            told.ward.clear();
        }
    }

    /// Whether it is told to delete this app.
    pub(crate) fn deletes(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ward.deletes(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_stands_after_the_verb() {
        let of = |given: &[&str]| arguments(given.iter().map(OsString::from), "chaos");
        assert_eq!(of(&["chaos", "--", "chaos"]), ["chaos", FLAG, "--", "chaos"]);
        assert_eq!(of(&["--system", "chaos", "web"]), ["--system", "chaos", FLAG, "web"]);
    }
}
