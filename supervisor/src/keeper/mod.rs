//! The keeper: the tiny parent of an app's primary and of all its workers. It outlives the primary,
//! starts it again when it dies, and does nothing clever.
//!
//! **The vault is the table of descriptors.** Keeper and primary are two processes with one table
//! (CLONE_FILES): whatever the primary opens is held by the keeper too, at no cost and without a
//! moment in between. The next primary finds it there, under the numbers that the snapshot state
//! names. So nothing here may ever close a descriptor that it did not make: after the first fork
//! the keeper opens none but for the blink of reading its list of children, and closes no other.
//!
//! **Workers are its children** (CLONE_PARENT), before and after a primary's death, so one process
//! can always tell how they ended. They stay zombies until the primary lets go of them; every
//! other process that comes to it as an orphan is reaped at once.
//!
//! Waits in one `poll` without end; allocates nothing once it has begun but for a path in an
//! upgrade. Refuses more workers than its roster has room for.

mod handover_args;
mod link;
mod messages;
mod shared_fds;
mod worker_pids;

use std::io::{self, IsTerminal};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, recv};

pub(crate) use handover_args::HandoverArgs;
pub(crate) use link::Link;
use messages::{ASK, Answer, Ask};
pub(crate) use shared_fds::SharedFds;
use worker_pids::WorkerPids;

use crate::base::exit::Exit;
use crate::base::time::Time;
use crate::snapshot::Memory;
use crate::sys::fork::{self, Forked};
use crate::sys::pidfd::{self, Pid};
use crate::sys::signals::WATCHED;
use crate::sys::{clock, daemon, exec, held, inherited};

/// A primary that lived so long is started again at once; another one after a pause, which doubles
/// from the first to the second of these.
const LIVED: Duration = Duration::from_secs(2);
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// `si_code` of what the kernel itself sends, as for a key of the terminal (sigaction(2)).
const SI_KERNEL: i32 = 0x80;

/// After so many short lives in a row a new build makes way for the one before it.
const SHORT_LIVES: u32 = 5;

/// Asks that are served in one go, so that signals have their turn.
const ASKS_PER_TURN: usize = 64;

/// Why there is a primary.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Birth {
    /// It has no predecessor.
    pub(crate) is_first: bool,
    /// How its predecessor ended.
    pub(crate) last: Option<Exit>,
    /// Another build was to be in its place, and could not be started: the kernel's reason.
    pub(crate) not_replaced: Option<i32>,
    /// Another build was in its place, and could not go on.
    pub(crate) fell_back: bool,
}

/// Who comes back from [`keep`].
#[derive(Debug)]
pub(crate) enum Role {
    /// A new primary. Signals are blocked until it has handlers for them.
    Primary(&'static SharedFds, Birth),
    /// The keeper, when all is over: the primary's exit code.
    Over(u8),
}

/// Becomes the keeper of an app, and comes back once in each primary.
pub(crate) fn keep(app: &str) -> io::Result<Role> {
    daemon::raise_nofile()?;
    daemon::go_last();
    let ground = SharedFds::lay(Memory::new)?;
    let birth = Birth { is_first: true, last: None, not_replaced: None, fell_back: false };
    Keeper::new(app, ground)?.run(birth)
}

/// The same in the process of a keeper of another build, which says where everything is.
pub(crate) fn keep_on(app: &str, estate: &HandoverArgs) -> io::Result<Role> {
    exec::close_at_exec()?;
    if let Some(soft) = estate.nofile {
        daemon::remember_nofile(soft);
    }
    if let Some(before) = estate.oom {
        daemon::remember_oom(before);
    }
    // Whatever fails, what `fall_back` hands on stays open.
    let previous = estate.previous.map(inherited::take_program).transpose()?;
    let previous = ManuallyDrop::new(previous);
    let memory = || inherited::take_memory(estate.memory).map(Memory::from_fds);
    let ground = SharedFds::lay(memory)?.after(ManuallyDrop::into_inner(previous));
    let fell_back = estate.fell_back;
    let birth = Birth { is_first: false, last: None, not_replaced: None, fell_back };
    Keeper::new(app, ground)?.run(birth)
}

/// A build that cannot even keep makes way for the one before it. Comes back if there is none.
pub(crate) fn fall_back(app: &str, estate: &HandoverArgs) {
    if let Some(number) = estate.previous {
        let program = PathBuf::from(format!("/proc/self/fd/{number}"));
        let estate = HandoverArgs { previous: None, fell_back: true, ..estate.clone() };
        // Why it cannot be run matters to nobody any more.
        let _ = exec::become_program(&program, &estate.arguments(app));
    }
}

struct Keeper {
    ground: &'static SharedFds,
    roster: WorkerPids,
    /// The primary has told all its workers.
    settled: bool,
    /// The primary is about to end for good.
    over: bool,
    /// A child has ended, and it was not yet looked which.
    somebody_ended: bool,
    /// Somebody's keys may send us signals.
    on_terminal: bool,
    /// Signals that came while there was no primary, by number.
    pending: u64,
    /// The primary hangs if it is not heard of before.
    heard_by: Option<Time>,
    /// The program that is to take our place when the primary has ended.
    replacement: Option<PathBuf>,
    app: String,
}

impl Keeper {
    fn new(app: &str, ground: SharedFds) -> io::Result<Self> {
        nix::sys::prctl::set_child_subreaper(true)?;
        Ok(Self {
            ground: Box::leak(Box::new(ground)),
            roster: WorkerPids::default(),
            settled: false,
            over: false,
            somebody_ended: false,
            on_terminal: io::stdin().is_terminal()
                || io::stdout().is_terminal()
                || io::stderr().is_terminal(),
            pending: 0,
            heard_by: None,
            replacement: None,
            app: app.to_owned(),
        })
    }

    fn run(mut self, mut birth: Birth) -> io::Result<Role> {
        let mut pause = PAUSES.0;
        let mut short_lives = 0;
        loop {
            // It tells of all its workers anew; whom it does not know, nobody does.
            self.roster.clear();
            (self.settled, self.heard_by) = (false, None);
            let primary = match fork::sharing_files() {
                Ok(Forked::Child) => return Ok(Role::Primary(self.ground, birth)),
                Ok(Forked::Parent(primary)) => primary,
                // The very first must be possible; later ones are tried again.
                Err(error) if birth.is_first => return Err(error),
                Err(_) => {
                    self.wait(None, Some(clock::now() + PAUSES.1))?;
                    continue;
                }
            };
            if !self.on_terminal {
                // A group of its own: what is sent to ours is passed on, and comes once.
                let _ = nix::unistd::setpgid(primary.into(), primary.into());
            }
            let born = clock::now();
            self.forward_pending(primary);
            let exit = self.wait(Some(primary), None)?.unwrap_or(Exit::Code(1));
            self.serve_asks();
            if self.over {
                return Ok(Role::Over(code(exit)));
            }
            birth =
                Birth { is_first: false, last: Some(exit), not_replaced: None, fell_back: false };
            if let Some(program) = self.replacement.take() {
                birth.not_replaced = Some(self.make_way(&program));
                continue;
            }
            if clock::now().since(born) >= LIVED {
                (pause, short_lives) = (PAUSES.0, 0);
                self.ground.end_probation();
                continue;
            }
            short_lives += 1;
            if short_lives >= SHORT_LIVES && self.ground.previous().is_some() {
                fall_back(&self.app, &self.estate());
            }
            self.wait(None, Some(clock::now() + pause))?;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// The primary's words; the manager only listens to us.
    fn tell(&self, number: u32, text: &[u8]) -> bool {
        let (Some(manager), Ok(text)) = (&self.ground.manager, std::str::from_utf8(text)) else {
            return false;
        };
        let fd = number.checked_sub(1).and_then(|number| i32::try_from(number).ok());
        let said = match fd {
            Some(number) => held::with(number, |fd| manager.send_with(text, fd)),
            None => manager.send(text),
        };
        said.is_ok()
    }

    /// Becomes that program. Comes back only if it cannot be run: the build that was goes on.
    fn make_way(&self, program: &Path) -> i32 {
        let own = exec::own_program();
        let previous = own.as_ref().ok().map(AsRawFd::as_raw_fd);
        let estate = HandoverArgs { previous, ..self.estate() };
        let error = exec::become_program(program, &estate.arguments(&self.app));
        error.raw_os_error().unwrap_or(libc::EIO)
    }

    fn estate(&self) -> HandoverArgs {
        let memory = self.ground.memory.fds().map(|fd| fd.as_raw_fd());
        HandoverArgs {
            previous: self.ground.previous().map(|fd| fd.as_raw_fd()),
            fell_back: false,
            memory,
            nofile: daemon::original_nofile(),
            oom: daemon::original_oom(),
        }
    }

    /// Until the primary has ended, or the time has come.
    fn wait(&mut self, primary: Option<Pid>, until: Option<Time>) -> io::Result<Option<Exit>> {
        loop {
            self.serve_asks();
            if let Some(primary) = primary
                && let Some(exit) = pidfd::reap_child(primary)?
            {
                return Ok(Some(exit));
            }
            // After that: a signal that comes with its end is its successor's.
            self.take_signals(primary);
            if self.settled && std::mem::take(&mut self.somebody_ended) {
                self.roster.reap_others(primary);
            }
            if until.is_some_and(|until| until <= clock::now()) {
                return Ok(None);
            }
            if self.heard_by.is_some_and(|until| until <= clock::now()) {
                self.heard_by = None;
                // It may have ended just now. Else its end comes as any other.
                let _ = primary.map(|primary| kill(primary.into(), Signal::SIGKILL));
            }
            let next = until.into_iter().chain(self.heard_by).min();
            let left = next.map(|next| next.since(clock::now()));
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            let mut sources = [
                PollFd::from_borrowed_fd(self.ground.signals.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.ground.asks.as_fd(), PollFlags::IN),
            ];
            match poll(&mut sources, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take_signals(&mut self, primary: Option<Pid>) {
        while let Ok(Some(came)) = self.ground.signals.read_signal() {
            // The primary stays in the terminal's group, for it writes there, and hears of its keys
            // by itself.
            let is_key = self.on_terminal && primary.is_some() && came.ssi_code == SI_KERNEL;
            if came.ssi_signo == Signal::SIGCHLD as u32 {
                self.somebody_ended = true;
            } else if !is_key {
                self.pending |= 1 << came.ssi_signo;
            }
        }
        if let Some(primary) = primary {
            self.forward_pending(primary);
        }
    }

    /// One that has no handlers yet gets them all the same: they are blocked there until it has.
    fn forward_pending(&mut self, primary: Pid) {
        let pending = std::mem::take(&mut self.pending);
        for signal in WATCHED.iter().filter(|signal| pending & 1 << **signal as u64 != 0) {
            // It may have ended just now.
            let _ = kill(primary.into(), *signal);
        }
    }

    fn serve_asks(&mut self) {
        let mut bytes = [0u8; ASK];
        for _ in 0..ASKS_PER_TURN {
            let Ok((count, _)) = recv(&self.ground.asks, &mut bytes, RecvFlags::DONTWAIT) else {
                return;
            };
            let Some((ask, number)) = Ask::decode(&bytes[..count]) else { continue };
            let Some(answer) = self.serve(ask) else { continue };
            // A primary that is dead, or asks faster than it reads, does without.
            let answer = answer.encode(number);
            let _ = rustix::net::send(&self.ground.asks, &answer, SendFlags::NOSIGNAL);
        }
    }

    fn serve(&mut self, ask: Ask<'_>) -> Option<Answer> {
        let ended = |result: io::Result<Option<Exit>>| match result {
            Ok(Some(exit)) => Answer::Ended(exit),
            Ok(None) => Answer::Running,
            Err(_) => Answer::Refused,
        };
        Some(match ask {
            Ask::Own(pid) => {
                if self.roster.add(pid) {
                    Answer::Done
                } else {
                    Answer::Refused
                }
            }
            Ask::Peek(pid) => ended(pidfd::peek_child(pid)),
            Ask::Reap(pid) => {
                let exit = pidfd::reap_child(pid);
                if !matches!(exit, Ok(None)) {
                    self.roster.remove(pid);
                }
                ended(exit)
            }
            Ask::Settled => {
                // What ended before was not looked at.
                (self.settled, self.somebody_ended) = (true, true);
                return None;
            }
            Ask::Over => {
                self.over = true;
                return None;
            }
            Ask::Tell(number, text) => {
                if self.tell(number, text) {
                    Answer::Done
                } else {
                    Answer::Refused
                }
            }
            Ask::Alive(millis) => {
                self.heard_by = Some(clock::now() + Duration::from_millis(millis.into()));
                return None;
            }
            Ask::Replace(program) => {
                self.replacement = Some(program.to_owned());
                return None;
            }
        })
    }
}

/// As shells have it.
fn code(exit: Exit) -> u8 {
    match exit {
        Exit::Code(code) => u8::try_from(code & 0xff).unwrap_or(1),
        Exit::Signal(signal) => u8::try_from(128 + signal).unwrap_or(1),
        Exit::Unknown => 1,
    }
}
