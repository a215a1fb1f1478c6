//! The connection of a helper process to the primary that runs it: a socket on stdin, over which
//! both send messages of bounded size.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::poll::PollFlags;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use serde::Serialize;

use super::exit::Failure;
use crate::sys::channel::{self, Received};
use crate::sys::packets;
use crate::sys::poll::ready;

/// See the module.
#[derive(Debug)]
pub(crate) struct PrimaryChannel(OwnedFd);

impl PrimaryChannel {
    /// The one of this process, which ends with the primary from now on.
    pub(crate) fn open() -> Result<Self, Failure> {
        let _ = set_pdeathsig(Signal::SIGKILL);
        let channel = io::stdin().as_fd().try_clone_to_owned();
        channel.map(Self).map_err(|error| Failure::io("cannot use stdin", &error))
    }

    /// Waits for a message.
    pub(crate) fn receive(&self, space: &mut [u8]) -> io::Result<Received> {
        ready(self.0.as_fd(), PollFlags::POLLIN, None)?;
        channel::receive(self.0.as_fd(), space)
    }

    /// Sends a message. Fails if the primary makes no room for it within this time.
    pub(crate) fn send(&self, message: &impl Serialize, time: Duration) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        if !ready(self.0.as_fd(), PollFlags::POLLOUT, Some(time))? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        packets::send(self.0.as_fd(), &bytes)
    }
}
