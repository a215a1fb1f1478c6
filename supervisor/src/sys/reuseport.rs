//! Attaches a steering program to a SO_REUSEPORT group.
//!
//! The program belongs to the whole group, whichever of its sockets it is attached to. A new
//! program replaces the old one for all connections that come from then on, and stays when sockets
//! join or leave.
//!
//! Refuses a socket that does not listen. The kernel would accept it, but such a socket is in no
//! group yet: the program would steer no connection, and its later `listen` would fail if any other
//! socket of the address listened before it.

use std::io;
use std::os::fd::BorrowedFd;

use nix::sys::socket::{getsockopt, setsockopt, sockopt};

use super::bpf::{self, Instruction};

/// From now on this program chooses the socket for each new connection of the listening socket's
/// group.
pub(crate) fn attach(fd: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    if !getsockopt(&fd, sockopt::AcceptConn)? {
        let why = "a socket that does not listen cannot be steered";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut code = bpf::for_kernel(program);
    let len = u16::try_from(code.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // The kernel copies the program; `code` outlives the call.
    let program = libc::sock_fprog { len, filter: code.as_mut_ptr() };
    Ok(setsockopt(&fd, sockopt::AttachReusePortCbpf, &program)?)
}
