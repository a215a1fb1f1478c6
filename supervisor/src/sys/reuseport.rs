//! Puts a steering program on a SO_REUSEPORT group.
//!
//! The program belongs to the whole group, whichever of its sockets it is attached by; a new one
//! takes the place of the old for all connections that come from then on. It may be attached to
//! the group's first socket while that is bound and does not listen yet.

use std::io;
use std::os::fd::BorrowedFd;

use nix::sys::socket::{setsockopt, sockopt};

use super::bpf::{self, Instruction};

/// From now on this program says who of the socket's group gets a new connection.
pub(crate) fn attach(fd: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    let mut code = bpf::for_kernel(program);
    let len = u16::try_from(code.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // The kernel copies the program; `code` outlives the call.
    let program = libc::sock_fprog { len, filter: code.as_mut_ptr() };
    Ok(setsockopt(&fd, sockopt::AttachReusePortCbpf, &program)?)
}
