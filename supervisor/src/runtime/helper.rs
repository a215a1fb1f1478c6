//! A question to another process that the loop does not wait for: the process reads the question on
//! stdin, and the poller reports its end. Used for what may take long or hang: reading files,
//! asking user databases, trying another build.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::Serialize;

use super::source::Source;
use crate::base::time::Time;
use crate::sys::clock;
use crate::sys::exec::OWN_PROGRAM;
use crate::sys::pidfd::{self, Pid};
use crate::sys::poller::Poller;

/// A process that is being asked.
#[derive(Debug)]
pub(super) struct Helper {
    child: Child,
    pidfd: OwnedFd,
    answer: File,
    /// When it has had its time.
    pub(super) until: Time,
}

/// What goes to stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stderr {
    /// It is part of the answer.
    Answer,
    /// It goes where ours goes.
    Inherit,
}

impl Helper {
    /// Asks this program, which answers by a hidden verb, so that both agree on the question.
    pub(super) fn ask_own(
        poller: &Poller,
        source: Source,
        verb: &str,
        question: &impl Serialize,
        time: Duration,
    ) -> io::Result<Self> {
        let question = serde_json::to_vec(question)?;
        let mut command = Command::new(OWN_PROGRAM);
        command.arg(verb);
        Self::ask(poller, source, command, &question, Stderr::Inherit, time)
    }

    /// Starts the program with the question on stdin. The poller reports its end as `source`.
    pub(super) fn ask(
        poller: &Poller,
        source: Source,
        mut command: Command,
        question: &[u8],
        stderr: Stderr,
        time: Duration,
    ) -> io::Result<Self> {
        let mut input = memfd()?;
        input.write_all(question)?;
        input.rewind()?;
        let answer = memfd()?;
        command.stdin(input).stdout(answer.try_clone()?).process_group(0);
        if stderr == Stderr::Answer {
            command.stderr(answer.try_clone()?);
        }
        let mut child = command.spawn()?;
        let watched = pidfd::open(Pid(child.id())).and_then(|pidfd| {
            poller.add(pidfd.as_fd(), source.token())?;
            Ok(pidfd)
        });
        match watched {
            Ok(pidfd) => Ok(Self { child, pidfd, answer, until: clock::now() + time }),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    /// How it ended, and at most `limit` bytes of its answer. For a process whose end the poller
    /// has reported.
    pub(super) fn ended(
        mut self,
        poller: &Poller,
        limit: u64,
    ) -> io::Result<(ExitStatus, Vec<u8>)> {
        poller.remove(self.pidfd.as_fd());
        let status = self.child.wait()?;
        let mut answer = Vec::new();
        self.answer.rewind()?;
        self.answer.take(limit).read_to_end(&mut answer)?;
        Ok((status, answer))
    }

    /// Tells it to end. The poller reports its end: the kernel may not be able to end it at once.
    pub(super) fn kill(&mut self) {
        kill(&mut self.child);
    }

    /// Ends it.
    pub(super) fn end(mut self, poller: &Poller) {
        poller.remove(self.pidfd.as_fd());
        end(&mut self.child);
    }
}

/// Starts this program with a hidden verb, what it works on as stdin, and no output.
pub(super) fn start_own(verb: &str, stdin: OwnedFd) -> io::Result<Child> {
    let mut command = Command::new(OWN_PROGRAM);
    command.arg(verb).stdin(stdin).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn()
}

/// Takes the statuses of those that have ended.
pub(super) fn reap(processes: &mut Vec<Child>) {
    processes.retain_mut(|process| matches!(process.try_wait(), Ok(None)));
}

fn memfd() -> io::Result<File> {
    Ok(memfd_create("supervisor-helper", MFdFlags::MFD_CLOEXEC)?.into())
}

/// Ends it with what it has started.
pub(super) fn end(child: &mut Child) {
    kill(child);
    let _ = child.wait();
}

/// Kills it with what it has started. Errors mean that it is gone already.
pub(super) fn kill(child: &mut Child) {
    let _ = pidfd::signal_group(Pid(child.id()), libc::SIGKILL);
    let _ = child.kill();
}
