//! A NOTIFY_SOCKET for one worker: an abstract datagram socket of a name nobody can guess, whose
//! senders are checked by the credentials the kernel attaches (unix(7), SCM_CREDENTIALS).

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, sockopt};

/// The longest datagram that is looked at; systemd's own limit is the same order.
const MAX_DATAGRAM: usize = 16 * 1024;

/// One worker's NOTIFY_SOCKET, our end.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    socket: UnixDatagram,
    name: String,
}

impl NotifySocket {
    /// Makes one.
    pub(crate) fn new(app: &str, worker: u64) -> io::Result<Self> {
        let nonce = super::random::number();
        let name = format!("supervisor/{app}/{worker}-{nonce:016x}");
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        sockopt::set_socket_passcred(&socket, true)?;
        Ok(Self { socket, name })
    }

    /// One that was made by somebody else.
    pub(crate) fn from_parts(socket: OwnedFd, name: String) -> Self {
        Self { socket: socket.into(), name }
    }

    /// For `from_parts`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// For the worker's environment.
    pub(crate) fn address(&self) -> String {
        format!("@{}", self.name)
    }

    /// For the poller.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next datagram and its sender's user; `None`: there is none now. File descriptors that
    /// came with it (BARRIER=1 sends one) are closed, which is the answer to a barrier.
    pub(crate) fn receive(&self) -> io::Result<Option<(Vec<u8>, u32)>> {
        let mut bytes = vec![0; MAX_DATAGRAM];
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1), ScmRights(8))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received = match recvmsg(&self.socket, &mut parts, &mut ancillary, flags) {
            Ok(received) => received,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut sender = None;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmCredentials(credentials) = message {
                sender = Some(credentials.uid.as_raw());
            }
        }
        bytes.truncate(received.bytes);
        // Without credentials nobody knows who it was; no user has this number.
        Ok(Some((bytes, sender.unwrap_or(u32::MAX))))
    }
}
