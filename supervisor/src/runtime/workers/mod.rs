//! The worker processes and everything that is held for each: its pidfd, pipes, notification
//! sockets, the end of its standard error.

pub(super) mod hooks;
pub(super) mod launch;
pub(super) mod pid_files;
pub(super) mod record;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use config::spec::AppSpec;
use ipc::control::{Contract, Notice, NoticeKind};
use ipc::node::ServerAsk;

use super::contracts::interface::Endpoints;
use super::listeners::Listeners;
use super::on_stop::LeftToParents;
use super::output::line_parts::prefix;
use super::output::logs::{LineSplitter, Tail};
use super::probe::drain::Drain;
use super::probe::hang::Progress;
use super::source::Source;
use crate::base::exit::Exit;
use crate::base::ids::{Generation, ListenerId, Place, Slot, SocketId, Ticket, WorkerId};
use crate::base::stream::Stream;
use crate::base::time::Time;
use crate::limits::PIPE_READ;
use crate::sys::clock;
use crate::sys::pidfd::{self, Pid};
use crate::sys::strays::Mark;
use crate::sys::unseen::Theirs;

/// One worker, from fork until the core lets go of it.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) id: WorkerId,
    pub(crate) slot: Slot,
    pub(crate) generation: Generation,
    pub(crate) spec: Arc<AppSpec>,
    /// It is no worker but the process of a hook.
    pub(crate) is_hook: bool,
    pub(crate) pid: Pid,
    /// The user it runs as, if that is not ours.
    pub(crate) uid: Option<u32>,
    pub(crate) pidfd: OwnedFd,
    /// Until exec.
    pub(crate) report: Option<OwnedFd>,
    /// Our ends of its contracts.
    pub(crate) endpoints: Endpoints,
    pub(crate) out: Option<Pipe>,
    pub(crate) err: Option<Pipe>,
    pub(crate) tail: Tail,
    /// The sockets it was lent, with how many connections each had been given before.
    pub(crate) lent: BTreeMap<Place, u64>,
    /// Those of them that it inherited, by their number in it.
    pub(crate) inherited: BTreeMap<i32, Place>,
    /// The number that its lease has in it.
    pub(crate) lease: Option<i32>,
    /// Connections handed over to it.
    pub(crate) accepted: u64,
    /// How many connections it held at the last look into the kernel, with those handed over since.
    pub(crate) held: u32,
    /// Its requests for addresses that wait for the core.
    pub(crate) asking: BTreeMap<Ticket, Asking>,
    /// The inodes of listening sockets that its program shut down, and what each was. Some still
    /// listen.
    pub(crate) shut_down: BTreeMap<u64, Place>,
    /// The inodes of sockets that it got for a `bind` and has not listened on, and whose place each
    /// takes when it does.
    pub(crate) bound_only: BTreeMap<u64, Place>,
    /// The inodes of sockets of its own whose intercepted `listen` was left to the kernel. `None`:
    /// the primary that started it did not write them down.
    pub(crate) let_through: Option<BTreeSet<u64>>,
    /// Which contracts it used.
    pub(crate) contracts: BTreeSet<Contract>,
    /// Told to stop: when its main process ends, the rest of its group may finish.
    pub(crate) told_to_stop: bool,
    /// Its processes that got no stop signal. They get it when the main process ends without them.
    pub(in crate::runtime) left: Option<LeftToParents>,
    /// It has the preload that ends its kept connections when it drains.
    pub(crate) ends_kept: bool,
    /// How its main process ended, while other processes of its group live.
    pub(crate) ended: Option<Exit>,
    /// Its program could not be started: why, and whether trying again is useless.
    pub(crate) failed: Option<(String, bool)>,
    /// While it drains.
    pub(crate) drain: Option<Drain>,
    /// While it is watched for hanging.
    pub(crate) progress: Progress,
}

/// A request for an address that waits for the core's answer.
#[derive(Debug)]
pub(crate) enum Asking {
    /// An intercepted `bind`.
    Call(Call),
    /// A Node worker's ask.
    Node { seq: u64, ask: Box<ServerAsk>, listener: ListenerId },
}

impl Asking {
    /// The listener that it is about.
    pub(crate) fn listener(&self) -> ListenerId {
        match self {
            Self::Call(call) => call.listener,
            Self::Node { listener, .. } => *listener,
        }
    }
}

/// The core's answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) listener: ListenerId,
    pub(crate) socket: SocketId,
}

/// A `bind` that waits for its answer.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) listener: ListenerId,
    /// The call, for the kernel.
    pub(crate) call: u64,
    /// The program's socket.
    pub(crate) theirs: Theirs,
    /// Its number there.
    pub(crate) fd: i32,
    pub(crate) nonblocking: bool,
    pub(crate) cloexec: bool,
    pub(crate) address: SocketAddr,
}

/// One of a worker's output pipes.
#[derive(Debug)]
pub(crate) struct Pipe {
    reader: io::PipeReader,
    splitter: LineSplitter,
    /// When the beginning of a line that has not ended is written.
    unended_due: Option<Time>,
}

/// How long the end of a line may take after its beginning.
const LINE_TAKES: Duration = Duration::from_secs(1);

impl Pipe {
    /// Takes the reading end, made non-blocking by the caller.
    pub(crate) fn new(reader: io::PipeReader) -> Self {
        Self { reader, splitter: LineSplitter::default(), unended_due: None }
    }

    /// For the poller.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

impl Child {
    /// Reads what one of its pipes holds, at most [`PIPE_READ`] bytes: the whole lines, prefixed.
    /// `None`: the pipe has ended and is gone; its fd must have left the poller before.
    pub(crate) fn read_output(&mut self, stream: Stream) -> Option<Vec<u8>> {
        let pipe = match stream {
            Stream::Out => self.out.as_mut()?,
            Stream::Err => self.err.as_mut()?,
        };
        let mut bytes = vec![0; PIPE_READ];
        let count = match pipe.reader.read(&mut bytes) {
            Ok(0) => return None,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(_) => return None,
        };
        let mut lines = Vec::with_capacity(count + 64);
        let (slot, tail) = (self.slot.0, &mut self.tail);
        pipe.splitter.push(&bytes[..count], self.spec.log_line_max, |line, continues| {
            prefix(slot, (line, continues), &mut lines);
            if stream == Stream::Err {
                tail.push(line);
            }
        });
        // What was awaited has ended, and another line may have begun.
        let is_new = !lines.is_empty() || pipe.unended_due.is_none();
        pipe.unended_due = match pipe.splitter.is_unended() {
            false => None,
            true if is_new => Some(clock::now() + LINE_TAKES),
            true => pipe.unended_due,
        };
        Some(lines)
    }

    /// When the beginning of a line that has not ended is written.
    pub(crate) fn unended_due(&self) -> Option<Time> {
        let pipes = [&self.out, &self.err].into_iter().flatten();
        pipes.filter_map(|pipe| pipe.unended_due).min()
    }

    /// The beginnings of lines that are due, prefixed. What follows continues them.
    pub(crate) fn take_unended(&mut self, now: Time) -> [(Stream, Vec<u8>); 2] {
        let (slot, tail) = (self.slot.0, &mut self.tail);
        [(Stream::Out, &mut self.out), (Stream::Err, &mut self.err)].map(|(stream, pipe)| {
            let mut lines = Vec::new();
            if let Some(pipe) = pipe
                && pipe.unended_due.take_if(|due| *due <= now).is_some()
            {
                pipe.splitter.give_unended(|line, continues| {
                    prefix(slot, (line, continues), &mut lines);
                    if stream == Stream::Err {
                        tail.push(line);
                    }
                });
            }
            (stream, lines)
        })
    }

    /// What is left of one pipe's last, unended line, when nothing more will come.
    pub(crate) fn finish_output(&mut self, stream: Stream) -> Vec<u8> {
        let pipe = match stream {
            Stream::Out => self.out.take(),
            Stream::Err => self.err.take(),
        };
        let mut lines = Vec::new();
        let (slot, tail) = (self.slot.0, &mut self.tail);
        if let Some(mut pipe) = pipe {
            pipe.splitter.finish(|line, continues| {
                prefix(slot, (line, continues), &mut lines);
                if stream == Stream::Err {
                    tail.push(line);
                }
            });
        }
        lines
    }

    /// A message of its program, for the app's events.
    pub(crate) fn says(&self, message: String) -> Notice {
        Notice {
            unix_ms: clock::unix_ms(),
            slot: Some(self.slot.0),
            worker: Some(self.id.0),
            pid: Some(self.pid.0),
            generation: Some(self.generation.0),
            ..Notice::of_app(NoticeKind::WorkerMessage, message)
        }
    }

    /// Whether a notification from this user counts: its own user, ours, or root.
    pub(crate) fn may_notify(&self, uid: u32) -> bool {
        let ours = nix::unistd::geteuid().as_raw();
        uid == 0 || uid == ours || self.uid == Some(uid)
    }

    /// What the environment of its processes says.
    pub(crate) fn mark(&self) -> Mark {
        Mark { app: self.spec.name.clone(), worker: self.id.to_string() }
    }

    /// The sockets that only this worker was lent, with their inodes.
    pub(crate) fn lent_alone(&self, listeners: &Listeners) -> impl Iterator<Item = (Place, u64)> {
        let alone = |(listener, _): &&Place| {
            listeners.get(*listener).is_some_and(|listener| !listener.is_shared())
        };
        listeners.with_inodes(self.lent.keys().filter(alone))
    }

    /// Whether the only socket that it has open of a slot socket's place is one that it bound and
    /// does not listen on. `open`: the inodes that its processes have open.
    pub(crate) fn has_only_bound(&self, place: Place, open: &HashSet<u64>) -> bool {
        self.bound_only.iter().any(|(inode, of)| *of == place && open.contains(inode))
    }

    /// How many connections it was given, if all its listeners count them.
    pub(crate) fn accepted(&self, listeners: &Listeners) -> Option<u64> {
        if self.accepted > 0 {
            return Some(self.accepted);
        }
        let since = |((listener, socket), before): (&Place, &u64)| {
            Some(listeners.get(*listener)?.given(*socket)?.saturating_sub(*before))
        };
        self.lent.iter().map(since).sum()
    }

    /// Sends a signal. `group`: to its whole process group, else to its main process.
    pub(crate) fn signal(&mut self, signal: i32, group: bool) -> io::Result<()> {
        if !group {
            return pidfd::signal(self.pidfd.as_fd(), signal);
        }
        // SIGSTOP and SIGCONT only frame a look; the worker goes on.
        self.told_to_stop |= !matches!(signal, libc::SIGSTOP | libc::SIGCONT);
        pidfd::signal_group(self.pid, signal)
    }

    /// Closes everything but its pidfd and what serves processes that outlive it.
    pub(crate) fn forget_fds(&mut self) {
        self.report = None;
        self.endpoints.worker_ended();
        self.out = None;
        self.err = None;
        self.asking.clear();
    }

    /// Every fd of it that the poller may know, with its source.
    pub(crate) fn sources(&self) -> Vec<(BorrowedFd<'_>, Source)> {
        let mut all = vec![(self.pidfd.as_fd(), Source::Process(self.id))];
        all.extend(self.report.as_ref().map(|fd| (fd.as_fd(), Source::Report(self.id))));
        all.extend(self.endpoints.sources(self.id));
        all.extend(self.out.as_ref().map(|pipe| (pipe.fd(), Source::Out(self.id))));
        all.extend(self.err.as_ref().map(|pipe| (pipe.fd(), Source::Err(self.id))));
        all
    }
}
