//! A worker's channel to the bus: its socket, what came on it in part, and when the poller looks at
//! it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use ipc::bus::FromWorker;
use ipc::bus::decode::Decoder;

use crate::base::ids::WorkerId;
use crate::runtime::workers::Child;

/// A worker's channel.
#[derive(Debug)]
pub(crate) struct BusChannel {
    pub(super) stream: UnixStream,
    pub(super) decoder: Decoder<FromWorker>,
    /// Descriptors whose messages have not come whole.
    pub(super) fds: VecDeque<OwnedFd>,
    /// Not read, because somebody else does not read.
    pub(super) paused: bool,
    /// The poller waits for room to write.
    pub(super) waits_for_room: bool,
}

impl BusChannel {
    /// A new channel and the worker's end of it.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((Self::from_fd(ours.into()), theirs.into()))
    }

    /// One that nobody has spoken on.
    pub(crate) fn from_fd(stream: OwnedFd) -> Self {
        Self {
            stream: stream.into(),
            decoder: Decoder::default(),
            fds: VecDeque::new(),
            paused: false,
            waits_for_room: false,
        }
    }

    /// For the poller.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// The first message of a worker, which is left in its channel until its consequences are in the
/// state: its answer is awaited, and is given once.
#[derive(Debug)]
pub(in crate::runtime) struct Greeting {
    pub(super) worker: WorkerId,
    /// Its length in the channel.
    pub(super) bytes: usize,
    /// How often the channel may still be read.
    pub(super) left: usize,
}

impl Child {
    /// Its channel to the bus, until that has ended.
    pub(super) fn bus(&self) -> Option<&BusChannel> {
        self.endpoints.get()
    }

    /// The same, to be changed.
    pub(super) fn bus_mut(&mut self) -> Option<&mut BusChannel> {
        self.endpoints.get_mut()
    }
}
