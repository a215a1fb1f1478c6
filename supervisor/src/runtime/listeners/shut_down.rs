//! Slot sockets that a program shuts down (`shutdown(2)`, or one that passes no filter: io_uring,
//! or a program that is not intercepted).

use std::io;
use std::os::fd::AsFd;

use super::Key;
use super::listener::{Listener, SlotSocket};
use crate::base::ids::SocketId;
use crate::limits::LEAST_BACKLOG;
use crate::sys::socket;

impl Listener {
    /// Shuts a slot socket down, and puts a fresh one into its place in the group. Nobody else's
    /// place changes: the fresh one listens first, as the last of the group, and the kernel then
    /// moves it there.
    pub(in crate::runtime) fn shut_down(&mut self, id: SocketId) -> io::Result<()> {
        let Key::Tcp(address, v6only) = self.key else { return Ok(()) };
        let Some(old) = self.sockets.get_mut(&id).filter(|socket| socket.listens) else {
            return Ok(());
        };
        let fresh = socket::further_tcp(address, address.is_ipv6().then_some(v6only))?;
        if self.gated {
            socket::gate(fresh.as_fd())?;
        }
        let limit = socket::accept_queue(old.fd.as_fd()).map_or(0, |queue| queue.limit);
        let backlog = i32::try_from(limit).unwrap_or(i32::MAX).max(LEAST_BACKLOG);
        socket::listen(fresh.as_fd(), backlog)?;
        socket::stop_listening(old.fd.as_fd())?;
        let was_target = old.was_target;
        *old = SlotSocket { listens: true, was_target, ..SlotSocket::new(fresh)? };
        Ok(())
    }

    /// Finds the slot sockets that a program shut down without our knowing: they have left the
    /// group, and others have moved. Steers by the new order. Such a socket joins again when the
    /// next worker listens on it.
    pub(in crate::runtime) fn mend(&mut self) -> io::Result<Vec<SocketId>> {
        // Only one that never listens (UDP) cannot be asked.
        let is_silent =
            |socket: &SlotSocket| matches!(socket::listens(socket.fd.as_fd()), Ok(false));
        let order = self.group.order().to_vec();
        let mut left = Vec::new();
        for id in order {
            if let Some(socket) = self.sockets.get_mut(&id)
                && is_silent(socket)
            {
                socket.listens = false;
                self.group.leave(id);
                left.push(id);
            }
        }
        if !left.is_empty() {
            self.steer(self.targets.clone())?;
        }
        Ok(left)
    }
}
