//! The order of a SO_REUSEPORT group, as the kernel keeps it: a steering program chooses by it.
//!
//! A socket that begins to listen becomes the last. The last takes the place of one that leaves:
//! one that its last holder closes, or that a program shuts down.

use crate::base::ids::SocketId;

/// Kernel index → socket.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::runtime) struct Group(Vec<SocketId>);

impl Group {
    /// With this order.
    pub(in crate::runtime) fn of(order: Vec<SocketId>) -> Self {
        Self(order)
    }

    /// The sockets by their index.
    pub(in crate::runtime) fn order(&self) -> &[SocketId] {
        &self.0
    }

    /// The index of the socket that joins next.
    pub(in crate::runtime) fn next_index(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// The index of this socket, if it is a member.
    pub(in crate::runtime) fn index(&self, id: SocketId) -> Option<u32> {
        let place = self.0.iter().position(|member| *member == id)?;
        u32::try_from(place).ok()
    }

    /// It begins to listen. Whether it was no member before.
    pub(in crate::runtime) fn join(&mut self, id: SocketId) -> bool {
        let joins = self.index(id).is_none();
        if joins {
            self.0.push(id);
        }
        joins
    }

    /// It no longer listens. Whether it was a member.
    pub(in crate::runtime) fn leave(&mut self, id: SocketId) -> bool {
        let place = self.0.iter().position(|member| *member == id);
        place.map(|place| self.0.swap_remove(place)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{SocketAddr, TcpStream};
    use std::os::fd::{AsFd, OwnedFd};
    use std::time::Duration;

    use socket2::SockRef;

    use super::*;
    use crate::sys::reuseport::attach;
    use crate::sys::socket;
    use crate::sys::steering_code::{Steering, compile};

    /// How long a connection may take to its socket.
    const PATIENCE: Duration = Duration::from_secs(5);

    /// The real group beside the model.
    struct Twins {
        address: SocketAddr,
        model: Group,
        sockets: BTreeMap<SocketId, OwnedFd>,
        next: u32,
    }

    impl Twins {
        fn new() -> Self {
            let some = socket::first_tcp("127.0.0.1:0".parse().unwrap(), None).unwrap();
            let address = socket::local_address(some.as_fd()).unwrap();
            // One that was bound to port 0 would lose its port when it is shut down.
            let first = socket::further_tcp(address, None).unwrap();
            // Not before the port is taken again: another test would get it, and join the group.
            drop(some);
            let sockets = BTreeMap::from([(SocketId(0), first)]);
            let mut twins = Self { address, model: Group::default(), sockets, next: 1 };
            twins.listen(SocketId(0));
            twins
        }

        fn listen(&mut self, id: SocketId) {
            socket::listen(self.sockets[&id].as_fd(), 8).unwrap();
            self.model.join(id);
        }

        fn add(&mut self) {
            let id = SocketId(self.next);
            self.next += 1;
            self.sockets.insert(id, socket::further_tcp(self.address, None).unwrap());
            self.listen(id);
        }

        /// Every index leads to the socket of which the model says so.
        fn compare(&self) {
            for (index, id) in (0..).zip(self.model.order()) {
                let fd = self.sockets[id].as_fd();
                SockRef::from(&fd).set_read_timeout(Some(PATIENCE)).unwrap();
                attach(fd, &compile(Steering::Even(&[index]))).unwrap();
                drop(TcpStream::connect(self.address).unwrap());
                assert!(socket::accept(fd).unwrap().is_some(), "index {index} is not {id}");
            }
        }
    }

    /// Pseudo-random numbers, the same in every run (splitmix64).
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, below: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            usize::try_from((z ^ (z >> 31)) % below as u64).unwrap()
        }
    }

    #[test]
    fn the_kernel_keeps_this_order() {
        let mut dice = Dice(0);
        for _ in 0..40 {
            let mut twins = Twins::new();
            for _ in 0..20 {
                let members = twins.model.order().to_vec();
                let any = members[dice.roll(members.len())];
                let silent: Vec<SocketId> = twins.sockets.keys().copied().collect();
                let silent = silent.into_iter().find(|id| twins.model.index(*id).is_none());
                match (dice.roll(4), silent) {
                    (0, _) if members.len() < 6 => twins.add(),
                    (1, Some(silent)) => twins.listen(silent),
                    (2, _) if members.len() > 1 => {
                        socket::stop_listening(twins.sockets[&any].as_fd()).unwrap();
                        assert!(twins.model.leave(any));
                    }
                    (3, _) if members.len() > 1 => {
                        twins.sockets.remove(&any);
                        assert!(twins.model.leave(any));
                    }
                    _ => {}
                }
                twins.compare();
            }
        }
    }
}
