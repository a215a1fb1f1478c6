//! The sockets that programs get for a `bind`, and how one becomes a slot socket when its program
//! listens. Until then it is the program's alone: a program that connects from it, or closes it,
//! does nothing to the group.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::Key;
use super::listener::{Kind, Listener, SlotSocket};
use crate::base::ids::SocketId;
use crate::policy::intercept::SlotState;
use crate::sys::socket;

impl Listener {
    /// A socket for the worker that borrows this slot socket: bound to the address, not listening.
    /// `None`: all share one socket, and the worker gets that.
    pub(in crate::runtime) fn bound_only(&mut self, id: SocketId) -> io::Result<Option<OwnedFd>> {
        let is_target = self.is_target(id);
        let (Kind::Slots, Key::Tcp(address, v6only)) = (&self.kind, &self.key) else {
            return Ok(None);
        };
        let fd = socket::further_tcp(*address, address.is_ipv6().then_some(*v6only))?;
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.was_target = is_target;
        }
        Ok(Some(fd))
    }

    /// What is known of a slot socket before another takes its place. `in_use`: its borrower has
    /// it open.
    pub(in crate::runtime) fn slot_state(&self, id: SocketId, in_use: bool) -> SlotState {
        let Some(socket) = self.sockets.get(&id).filter(|socket| socket.listens) else {
            return SlotState::Silent;
        };
        match in_use || socket.was_target || self.queued(id) > 0 {
            true => SlotState::Busy,
            false => SlotState::Idle,
        }
    }

    /// This socket becomes the slot socket. An old one that listens goes on until the new one does,
    /// see `listen`: then it leaves the group, and the new one, the last, moves into its place.
    pub(in crate::runtime) fn take_place(&mut self, id: SocketId, fd: OwnedFd) -> io::Result<()> {
        if self.gated {
            socket::gate(fd.as_fd())?;
        }
        let mut new = SlotSocket::new(fd)?;
        let old = self.sockets.remove(&id).filter(|old| old.listens);
        new.replaces = old.map(|old| old.fd);
        self.sockets.insert(id, new);
        Ok(())
    }
}

impl SlotSocket {
    /// What became of a socket whose primary died while it was to take this place.
    pub(in crate::runtime) fn settle(self) -> io::Result<Self> {
        let Self { replaces: Some(old), .. } = self else { return Ok(self) };
        if !socket::listens(self.fd.as_fd())? {
            return Ok(Self { listens: true, was_target: true, ..Self::new(old)? });
        }
        // It may have been shut down already.
        let _ = socket::stop_listening(old.as_fd());
        Ok(Self { replaces: None, ..self })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpStream};

    use config::spec::Balance;

    use super::*;
    use crate::base::ids::{ListenerId, Slot};
    use crate::primary::action::Target;

    /// A listener with three slot sockets that listen.
    fn listener_of_three() -> (Listener, SocketAddr) {
        let fd = socket::first_tcp("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let address = socket::local_address(fd.as_fd()).unwrap();
        let (id, key) = (ListenerId(0), Key::Tcp(address, false));
        let mut listener = Listener::new(id, key, None, Kind::Slots, Balance::Hash, fd);
        for id in (0..3).map(SocketId) {
            listen_on_its_own(&mut listener, id);
        }
        (listener, address)
    }

    fn listen_on_its_own(listener: &mut Listener, id: SocketId) {
        let fd = listener.bound_only(id).unwrap().unwrap();
        listener.take_place(id, fd).unwrap();
        listener.listen(id, 16).unwrap();
    }

    fn steer(listener: &mut Listener, socket: SocketId) {
        listener.steer(vec![Target { slot: Slot(0), socket }]).unwrap();
    }

    #[test]
    fn a_successor_has_the_index_of_the_socket_that_it_replaces() {
        let (mut listener, address) = listener_of_three();
        assert!(!listener.is_held(), "a listening socket holds the address");
        steer(&mut listener, SocketId(1));
        let old = listener.inode(SocketId(0));
        assert_eq!(listener.slot_state(SocketId(0), false), SlotState::Idle);
        listen_on_its_own(&mut listener, SocketId(0));
        assert_ne!(listener.inode(SocketId(0)), old);
        let mut clients = Vec::new();
        for id in (0..3).map(SocketId) {
            steer(&mut listener, id);
            clients.push(TcpStream::connect(address).unwrap());
            let queued: Vec<u32> = (0..3).map(|id| listener.queued(SocketId(id))).collect();
            let expected: Vec<u32> = (0..3).map(|other| u32::from(other <= id.0)).collect();
            assert_eq!(queued, expected, "steered to {id:?}");
        }
    }

    #[test]
    fn a_socket_with_a_queue_or_a_holder_is_not_replaced() {
        let (mut listener, address) = listener_of_three();
        steer(&mut listener, SocketId(2));
        let client = TcpStream::connect(address).unwrap();
        assert_eq!(listener.slot_state(SocketId(2), false), SlotState::Busy);
        assert_eq!(listener.slot_state(SocketId(1), true), SlotState::Busy, "in use");
        assert_eq!(listener.slot_state(SocketId(7), false), SlotState::Silent);
        drop(client);
        // It was a target: a handshake may end in it at any time.
        steer(&mut listener, SocketId(1));
        let _taken = socket::accept(listener.existing(SocketId(2)).unwrap()).unwrap().unwrap();
        assert_eq!(listener.slot_state(SocketId(2), false), SlotState::Busy);
        let _lent_again = listener.bound_only(SocketId(2)).unwrap();
        assert_eq!(listener.slot_state(SocketId(2), false), SlotState::Idle);
    }

    #[test]
    fn a_successor_finds_out_how_far_its_predecessor_came() {
        let (mut listener, _) = listener_of_three();
        let inode = |listener: &Listener| listener.inode(SocketId(0)).unwrap();
        let settle = |listener: &mut Listener| {
            let socket = listener.sockets.remove(&SocketId(0)).unwrap().settle().unwrap();
            listener.sockets.insert(SocketId(0), socket);
        };
        let old = inode(&listener);
        let fd = listener.bound_only(SocketId(0)).unwrap().unwrap();
        listener.take_place(SocketId(0), fd).unwrap();
        settle(&mut listener);
        assert_eq!(inode(&listener), old, "the new one did not listen");
        let fd = listener.bound_only(SocketId(0)).unwrap().unwrap();
        socket::listen(fd.as_fd(), 16).unwrap();
        let new = socket::inode(fd.as_fd()).unwrap();
        listener.take_place(SocketId(0), fd).unwrap();
        settle(&mut listener);
        assert_eq!(inode(&listener), new, "both listened");
        assert!(listener.mend().unwrap().is_empty(), "all three listen");
    }
}
