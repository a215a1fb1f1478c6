//! A NOTIFY_SOCKET for one worker: an abstract datagram socket with an unguessable name. The kernel
//! attaches each sender's credentials, which the receiver checks (unix(7), SCM_CREDENTIALS).

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// The longest datagram that is read, in bytes; systemd's own limit is of the same order.
const MAX_DATAGRAM: usize = 16 * 1024;

/// The receiving end of one worker's NOTIFY_SOCKET.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    socket: UnixDatagram,
    name: String,
}

impl NotifySocket {
    /// Makes a socket with a random name.
    pub(crate) fn new(app: &str, worker: u64) -> io::Result<Self> {
        let nonce = super::random::number();
        let name = format!("supervisor/{app}/{worker}-{nonce:016x}");
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        Ok(Self { socket, name })
    }

    /// A socket that an earlier primary made.
    pub(crate) fn from_parts(socket: OwnedFd, name: String) -> Self {
        Self { socket: socket.into(), name }
    }

    /// The name, to pass to `from_parts`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The value of NOTIFY_SOCKET in the worker's environment.
    pub(crate) fn address(&self) -> String {
        format!("@{}", self.name)
    }

    /// The descriptor to poll.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next datagram and its sender's user id; `None`: there is none now. Descriptors that came
    /// with it (BARRIER=1 sends one) are closed, which answers a barrier.
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
        // Without credentials the sender is unknown; no user has this number.
        Ok(Some((bytes, sender.unwrap_or(u32::MAX))))
    }
}
