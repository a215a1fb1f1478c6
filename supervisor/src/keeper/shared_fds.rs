//! The descriptors that keeper and primary share in their one table.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use systemd::notify::Notifier;

use crate::snapshot::Memory;
use crate::sys::packets;
use crate::sys::pidfd::Pid;
use crate::sys::signals::WATCHED;

/// The descriptors that keeper and primary share. Never dropped.
#[derive(Debug)]
pub(crate) struct SharedFds {
    pub(crate) keeper: Pid,
    /// The keeper's end of the channel.
    pub(super) keeper_end: OwnedFd,
    /// The primary's end of the channel.
    pub(super) primary_end: OwnedFd,
    pub(super) signals: SignalFd,
    /// The memory that the primary writes its snapshot to.
    pub(crate) memory: Memory,
    /// The connection to the service manager.
    pub(super) manager: Option<Notifier>,
    previous: Option<OwnedFd>,
    probation_ended: Cell<bool>,
}

impl SharedFds {
    /// Creates the shared descriptors. It calls `memory` last, so that no later step can fail.
    pub(super) fn make(memory: impl FnOnce() -> io::Result<Memory>) -> io::Result<Self> {
        let mut watched: SigSet = WATCHED.into_iter().collect();
        watched.add(Signal::SIGCHLD);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&watched), None)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let (keeper_end, primary_end) = packets::pair()?;
        Ok(Self {
            keeper: Pid(std::process::id()),
            keeper_end,
            primary_end,
            signals: SignalFd::with_flags(&watched, flags)?,
            // The primary reports a wrong address of the service manager.
            manager: Notifier::from_env().unwrap_or_default(),
            memory: memory()?,
            previous: None,
            probation_ended: Cell::new(false),
        })
    }

    /// For the program that replaces this one.
    pub(super) fn after(self, previous: Option<OwnedFd>) -> Self {
        Self { previous, ..self }
    }

    /// The previous build's program, until this build has shown that it can go on.
    pub(crate) fn previous(&self) -> Option<BorrowedFd<'_>> {
        let previous = self.previous.as_ref().filter(|_| !self.probation_ended.get());
        previous.map(AsFd::as_fd)
    }

    /// Ends the probation of this build. The next primary closes descriptors that the snapshot does
    /// not name.
    pub(super) fn end_probation(&self) {
        self.probation_ended.set(true);
    }

    /// The descriptors that a new primary must not close.
    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let mut all = vec![self.keeper_end.as_fd(), self.primary_end.as_fd(), self.signals.as_fd()];
        all.extend(self.memory.fds());
        all.extend(self.manager.as_ref().map(AsFd::as_fd));
        all.extend(self.previous());
        all
    }
}
