//! The keeper: the small parent process of an app's primary and all its workers. It outlives the
//! primary, starts another one when the primary dies, and decides nothing else.
//!
//! **Keeper and primary share one table of descriptors** (CLONE_FILES). Whatever the primary opens,
//! the keeper holds in the same instant. The next primary finds it there, under the numbers that
//! the snapshot names. So the keeper may never close a descriptor that it did not open. After the
//! first fork it opens only its list of children, for a moment, and closes nothing else.
//!
//! **Workers are the keeper's children** (CLONE_PARENT), before and after the death of a primary,
//! so one process can always tell how they ended. They stay zombies until the primary releases
//! them. The keeper reaps every other child, such as an adopted orphan, at once.
//!
//! The keeper waits in one `poll` without a timeout of its own. Once it runs, it allocates nothing
//! but a path during an upgrade. It refuses more workers than its list has room for.

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

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{Signal, kill};

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
use crate::sys::poll::poll;
use crate::sys::signals::WATCHED;
use crate::sys::{clock, daemon, exec, held, inherited, packets, terminal};

/// After a primary that lived this long, the keeper starts the next one at once. After a shorter
/// life it pauses first; the pause doubles from the first to the second value of `PAUSES`.
const LIVED: Duration = Duration::from_secs(2);
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// The `si_code` of a signal that the kernel itself sends, as for a key of the terminal
/// (sigaction(2)).
const SI_KERNEL: i32 = 0x80;

/// After this many short lives in a row, a new build gives way to the previous one.
const SHORT_LIVES: u32 = 5;

/// The most requests that the keeper serves in a row before it looks at signals.
const ASKS_PER_TURN: usize = 64;

/// Why a primary starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Birth {
    /// This primary has no predecessor.
    pub(crate) is_first: bool,
    /// How the predecessor ended.
    pub(crate) last: Option<Exit>,
    /// An upgrade to another build failed before its start: the error number of the kernel.
    pub(crate) not_replaced: Option<i32>,
    /// An upgrade to another build failed after its start, and the keeper fell back to this build.
    pub(crate) fell_back: bool,
}

/// What [`keep`] returns as.
#[derive(Debug)]
pub(crate) enum Role {
    /// A new primary. Signals are blocked until it installs its handlers.
    Primary(&'static SharedFds, Birth),
    /// The keeper, when the app has ended: the exit code of the primary.
    Over(u8),
}

/// Becomes the keeper of an app. Returns once in each primary, and once in the keeper at the end.
pub(crate) fn keep(app: &str) -> io::Result<Role> {
    daemon::raise_nofile()?;
    daemon::go_last();
    terminal::remember();
    let shared = SharedFds::make(Memory::new)?;
    let birth = Birth { is_first: true, last: None, not_replaced: None, fell_back: false };
    Keeper::new(app, shared)?.run(birth)
}

/// Like [`keep`], in the process of another build's keeper; its arguments name the descriptors.
pub(crate) fn keep_on(app: &str, handover: &HandoverArgs) -> io::Result<Role> {
    exec::close_at_exec()?;
    terminal::remember();
    if let Some(soft) = handover.nofile {
        daemon::remember_nofile(soft);
    }
    if let Some(before) = handover.oom {
        daemon::remember_oom(before);
    }
    // If a step fails, what `fall_back` passes on stays open.
    let previous = handover.previous.map(inherited::take_program).transpose()?;
    let previous = ManuallyDrop::new(previous);
    let memory = || inherited::take_memory(handover.memory).map(Memory::from_fds);
    let shared = SharedFds::make(memory)?.after(ManuallyDrop::into_inner(previous));
    let fell_back = handover.fell_back;
    let birth = Birth { is_first: false, last: None, not_replaced: None, fell_back };
    Keeper::new(app, shared)?.run(birth)
}

/// Becomes the previous build, because this one cannot even run as a keeper. Returns only if
/// there is no previous build.
pub(crate) fn fall_back(app: &str, handover: &HandoverArgs) {
    if let Some(number) = handover.previous {
        let program = PathBuf::from(format!("/proc/self/fd/{number}"));
        let handover = HandoverArgs { previous: None, fell_back: true, ..handover.clone() };
        // No process is left that could use the reason of the failure.
        let _ = exec::become_program(&program, &handover.arguments(app));
    }
}

struct Keeper {
    shared: &'static SharedFds,
    workers: WorkerPids,
    /// The primary has named all its workers.
    settled: bool,
    /// The primary is about to end for good.
    over: bool,
    /// A child has ended, and the keeper has not yet looked which.
    somebody_ended: bool,
    /// The keeper has a terminal, so its keys may send us signals.
    on_terminal: bool,
    /// The signals that came while no primary existed, by number.
    pending: u64,
    /// The keeper takes the primary for hung if it hears nothing before this time.
    heard_by: Option<Time>,
    /// The program that replaces this one when the primary has ended.
    replacement: Option<PathBuf>,
    app: String,
}

impl Keeper {
    fn new(app: &str, shared: SharedFds) -> io::Result<Self> {
        nix::sys::prctl::set_child_subreaper(true)?;
        Ok(Self {
            shared: Box::leak(Box::new(shared)),
            workers: WorkerPids::default(),
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
        // The keeper never goes as deep again as it went to get here.
        daemon::give_stack_back();
        loop {
            // The new primary names all its workers again.
            self.workers.clear();
            (self.settled, self.heard_by) = (false, None);
            let primary = match fork::sharing_files() {
                Ok(Forked::Child) => return Ok(Role::Primary(self.shared, birth)),
                Ok(Forked::Parent(primary)) => primary,
                // The very first fork must succeed; the keeper tries later ones again.
                Err(error) if birth.is_first => return Err(error),
                Err(_) => {
                    self.wait(None, Some(clock::now() + PAUSES.1))?;
                    continue;
                }
            };
            if !self.on_terminal {
                // The primary gets its own process group: the keeper forwards signals sent to our
                // group, so the primary gets each one once.
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
                self.shared.end_probation();
                continue;
            }
            short_lives += 1;
            if short_lives >= SHORT_LIVES && self.shared.previous().is_some() {
                fall_back(&self.app, &self.handover_args());
            }
            self.wait(None, Some(clock::now() + pause))?;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Passes a message of the primary on, because the service manager listens to the keeper only.
    fn tell(&self, number: u32, text: &[u8]) -> bool {
        let (Some(manager), Ok(text)) = (&self.shared.manager, std::str::from_utf8(text)) else {
            return false;
        };
        let fd = number.checked_sub(1).and_then(|number| i32::try_from(number).ok());
        let said = match fd {
            Some(number) => held::with(number, |fd| manager.send_with(text, fd)),
            None => manager.send(text),
        };
        said.is_ok()
    }

    /// Becomes `program`. Returns the error number if the exec fails; then this build goes on.
    fn make_way(&self, program: &Path) -> i32 {
        let own = exec::own_program();
        let previous = own.as_ref().ok().map(AsRawFd::as_raw_fd);
        let handover = HandoverArgs { previous, ..self.handover_args() };
        let error = exec::become_program(program, &handover.arguments(&self.app));
        error.raw_os_error().unwrap_or(libc::EIO)
    }

    fn handover_args(&self) -> HandoverArgs {
        let memory = self.shared.memory.fds().map(|fd| fd.as_raw_fd());
        HandoverArgs {
            previous: self.shared.previous().map(|fd| fd.as_raw_fd()),
            fell_back: false,
            memory,
            nofile: daemon::original_nofile(),
            oom: daemon::original_oom(),
        }
    }

    /// Waits until the primary has ended, or until the time has come.
    fn wait(&mut self, primary: Option<Pid>, until: Option<Time>) -> io::Result<Option<Exit>> {
        loop {
            self.serve_asks();
            if let Some(primary) = primary
                && let Some(exit) = pidfd::reap_child(primary)?
            {
                return Ok(Some(exit));
            }
            // In this order: a signal that comes together with the primary's end is for its
            // successor.
            let ended = self.take_signals(primary);
            if self.settled && std::mem::take(&mut self.somebody_ended) {
                self.workers.reap_others(primary);
            }
            if ended {
                // The primary may have ended after it was asked for, and no other signal tells.
                continue;
            }
            if until.is_some_and(|until| until <= clock::now()) {
                return Ok(None);
            }
            if self.heard_by.is_some_and(|until| until <= clock::now()) {
                self.heard_by = None;
                // The primary may have ended just now. If not, its end comes like any other.
                let _ = primary.map(|primary| kill(primary.into(), Signal::SIGKILL));
            }
            let next = until.into_iter().chain(self.heard_by).min();
            let left = next.map(|next| next.since(clock::now()));
            let mut sources = [
                PollFd::new(self.shared.signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.shared.keeper_end.as_fd(), PollFlags::POLLIN),
            ];
            poll(&mut sources, left)?;
        }
    }

    /// Whether a child has ended since the last call.
    fn take_signals(&mut self, primary: Option<Pid>) -> bool {
        let mut ended = false;
        while let Ok(Some(came)) = self.shared.signals.read_signal() {
            // The primary stays in the terminal's process group, because it writes to the terminal.
            // So it gets the signals of the terminal's keys itself.
            // When the terminal ends, the kernel sends SIGHUP only to the leader of the session. If
            // the keeper is that leader, the primary gets the signal from the keeper.
            let is_key = self.on_terminal
                && primary.is_some()
                && came.ssi_code == SI_KERNEL
                && came.ssi_signo != Signal::SIGHUP as u32;
            if came.ssi_signo == Signal::SIGCHLD as u32 {
                self.somebody_ended = true;
                ended = true;
            } else if !is_key {
                self.pending |= 1 << came.ssi_signo;
            }
        }
        if let Some(primary) = primary {
            self.forward_pending(primary);
        }
        ended
    }

    /// Also forwards to a primary that has no handlers yet: it keeps signals blocked until then.
    fn forward_pending(&mut self, primary: Pid) {
        let pending = std::mem::take(&mut self.pending);
        for signal in WATCHED.iter().filter(|signal| pending & 1 << **signal as u64 != 0) {
            // The primary may have ended just now.
            let _ = kill(primary.into(), *signal);
        }
    }

    fn serve_asks(&mut self) {
        let mut bytes = [0u8; ASK];
        for _ in 0..ASKS_PER_TURN {
            let received = packets::receive(self.shared.keeper_end.as_fd(), &mut bytes);
            let Ok(count) = received else { return };
            let Some((ask, number)) = Ask::decode(&bytes[..count]) else { continue };
            let Some(answer) = self.serve(ask) else { continue };
            // A primary that is dead, or sends requests faster than it reads answers, gets none.
            let answer = answer.encode(number);
            let _ = packets::send(self.shared.keeper_end.as_fd(), &answer);
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
                if self.workers.add(pid) {
                    Answer::Done
                } else {
                    Answer::Refused
                }
            }
            Ask::Disown(pid) => {
                self.workers.remove(pid);
                // It may have ended just now, and no other signal would tell.
                self.somebody_ended = true;
                Answer::Done
            }
            Ask::Peek(pid) => ended(pidfd::peek_child(pid)),
            Ask::Reap(pid) => {
                let exit = pidfd::reap_child(pid);
                if !matches!(exit, Ok(None)) {
                    self.workers.remove(pid);
                }
                ended(exit)
            }
            Ask::Settled => {
                // The keeper has not reaped the children that ended earlier.
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

/// Exit codes as shells report them.
fn code(exit: Exit) -> u8 {
    match exit {
        Exit::Code(code) => u8::try_from(code & 0xff).unwrap_or(1),
        Exit::Signal(signal) => u8::try_from(128 + signal).unwrap_or(1),
        Exit::Unknown => 1,
    }
}
