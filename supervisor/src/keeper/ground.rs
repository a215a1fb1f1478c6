//! What keeper and primary have in common, in the one table of descriptors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use systemd::notify::Notifier;

use crate::frozen::Memory;
use crate::sys::pidfd::Pid;
use crate::sys::signals::WATCHED;

/// What keeper and primary have in common. Never dropped: its descriptors are in the one table.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) keeper: Pid,
    /// The keeper's end.
    pub(super) asks: OwnedFd,
    /// The primary's end.
    pub(super) vault: OwnedFd,
    pub(super) signals: SignalFd,
    /// Where the primary freezes its state.
    pub(crate) memory: Memory,
    /// The way to the service manager.
    pub(super) manager: Option<Notifier>,
    /// The program that was here before, until this one has shown that it can go on.
    pub(crate) previous: Option<OwnedFd>,
}

impl Ground {
    pub(super) fn lay(memory: Memory) -> io::Result<Self> {
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
            memory,
            // What is wrong with its address the primary says.
            manager: Notifier::from_env().unwrap_or_default(),
            previous: None,
        })
    }

    /// What a new primary must leave alone in the table.
    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let mut all = vec![self.asks.as_fd(), self.vault.as_fd(), self.signals.as_fd()];
        all.extend(self.memory.fds());
        all.extend(self.manager.as_ref().map(AsFd::as_fd));
        all.extend(self.previous.as_ref().map(AsFd::as_fd));
        all
    }
}
