//! What keeper and primary have in common, in the one table of descriptors.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use systemd::notify::Notifier;

use crate::snapshot::Memory;
use crate::sys::pidfd::Pid;
use crate::sys::signals::WATCHED;

/// What keeper and primary have in common. Never dropped: its descriptors are in the one table.
#[derive(Debug)]
pub(crate) struct SharedFds {
    pub(crate) keeper: Pid,
    /// The keeper's end.
    pub(super) asks: OwnedFd,
    /// The primary's end.
    pub(super) vault: OwnedFd,
    pub(super) signals: SignalFd,
    /// Where the primary writes its state.
    pub(crate) memory: Memory,
    /// The way to the service manager.
    pub(super) manager: Option<Notifier>,
    previous: Option<OwnedFd>,
    probation_ended: Cell<bool>,
}

impl SharedFds {
    /// `memory` is asked for last: when it was had, nothing can fail.
    pub(super) fn lay(memory: impl FnOnce() -> io::Result<Memory>) -> io::Result<Self> {
        let mut watched: SigSet = WATCHED.into_iter().collect();
        watched.add(Signal::SIGCHLD);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&watched), None)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let (asks, vault) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        Ok(Self {
            keeper: Pid(std::process::id()),
            asks,
            vault,
            signals: SignalFd::with_flags(&watched, flags)?,
            // What is wrong with its address the primary says.
            manager: Notifier::from_env().unwrap_or_default(),
            memory: memory()?,
            previous: None,
            probation_ended: Cell::new(false),
        })
    }

    /// In the place of this program.
    pub(super) fn after(self, previous: Option<OwnedFd>) -> Self {
        Self { previous, ..self }
    }

    /// The program that was here before, until this one has shown that it can go on.
    pub(crate) fn previous(&self) -> Option<BorrowedFd<'_>> {
        let previous = self.previous.as_ref().filter(|_| !self.probation_ended.get());
        previous.map(AsFd::as_fd)
    }

    /// This program has shown it. The next primary closes what nobody names any more.
    pub(super) fn end_probation(&self) {
        self.probation_ended.set(true);
    }

    /// What a new primary must leave alone in the table.
    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let mut all = vec![self.asks.as_fd(), self.vault.as_fd(), self.signals.as_fd()];
        all.extend(self.memory.fds());
        all.extend(self.manager.as_ref().map(AsFd::as_fd));
        all.extend(self.previous());
        all
    }
}
