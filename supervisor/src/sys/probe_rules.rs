//! The connections of probes: each has a source of its own, and goes to the socket that is probed,
//! whatever the steering says of all others. The instructions stand before those of a steering
//! program, as classic BPF or as eBPF.
//!
//! A source is an address and a port that a socket of ours is bound to until its rule is gone, so
//! no other client has it.

use std::net::{IpAddr, SocketAddr};

use super::bpf::{self, branch, plain};
use super::ebpf_code;

/// One connection and the socket that gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProbeRule {
    pub(crate) source: SocketAddr,
    /// In the kernel's group.
    pub(crate) index: u32,
}

/// The IP header; offsets of the packet begin behind the TCP header.
const NETWORK: u32 = libc::SKF_NET_OFF as u32;
const PROTOCOL: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PROTOCOL) as u32;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// What a packet of the source has: the protocol, words of the IP header by offset, and the offset
/// of its source port.
fn marks(source: SocketAddr) -> (u16, Vec<(u32, u32)>, u32) {
    match source.ip() {
        // A packet of ours has no options.
        IpAddr::V4(address) => (IPV4, vec![(NETWORK + 12, u32::from(address))], NETWORK + 20),
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            let word = |shift: u32| u32::try_from(bits >> shift & 0xffff_ffff).unwrap_or_default();
            let words = (0..4).map(|at| (NETWORK + 8 + 4 * at, word(96 - 32 * at)));
            (IPV6, words.collect(), NETWORK + 40)
        }
    }
}

/// The rules in classic BPF.
pub(super) fn classic(rules: &[ProbeRule]) -> Vec<bpf::Instruction> {
    let mut code = Vec::new();
    for rule in rules {
        let (protocol, words, port) = marks(rule.source);
        let mut asked = vec![(bpf::LOAD, PROTOCOL, u32::from(protocol))];
        asked.extend(words.into_iter().map(|(offset, word)| (bpf::LOAD, offset, word)));
        asked.push((bpf::LOAD_HALF, port, u32::from(rule.source.port())));
        let length = asked.len();
        for (at, (load, offset, value)) in asked.into_iter().enumerate() {
            // Skips the further questions and the answer.
            let rest = u8::try_from(2 * (length - at - 1) + 1).unwrap_or(u8::MAX);
            code.extend([plain(load, offset), branch(bpf::IF_EQUAL, value, 0, rest)]);
        }
        code.push(plain(bpf::RETURN, rule.index));
    }
    code
}

/// The rules in eBPF. They leave r6 and r7 in use, and expect the packet in r1.
pub(super) fn extended(rules: &[ProbeRule]) -> Vec<ebpf_code::Instruction> {
    if rules.is_empty() {
        return Vec::new();
    }
    let mut code = vec![ebpf_code::move_register(6, 1), ebpf_code::load_protocol(7, 6)];
    for rule in rules {
        let (protocol, words, port) = marks(rule.source);
        let mut asked = Vec::from([(None, 7, u32::from(protocol.to_be()))]);
        asked.extend(
            words.into_iter().map(|(at, word)| (Some(ebpf_code::load_packet_word(at)), 0, word)),
        );
        asked.push((Some(ebpf_code::load_packet_half(port)), 0, u32::from(rule.source.port())));
        let lengths: Vec<i16> =
            asked.iter().map(|(load, ..)| 1 + i16::from(load.is_some())).collect();
        for (at, (load, register, value)) in asked.into_iter().enumerate() {
            code.extend(load);
            let rest = lengths[at + 1..].iter().sum::<i16>() + 2;
            code.push(ebpf_code::jump_unless_equal(register, value, rest));
        }
        code.extend([ebpf_code::move_immediate(0, rule.index.cast_signed()), ebpf_code::EXIT]);
    }
    code
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsFd, OwnedFd};

    use super::*;
    use crate::sys::ebpf::RoundRobin;
    use crate::sys::steering_code::{Steering, compile_with};
    use crate::sys::{reuseport, socket};

    struct Group {
        sockets: Vec<TcpListener>,
        to: SocketAddr,
    }

    impl Group {
        fn new(address: &str) -> Self {
            let first = socket::first_tcp(address.parse().unwrap(), Some(false)).unwrap();
            let to = socket::local_address(first.as_fd()).unwrap();
            let mut all: Vec<OwnedFd> = vec![first];
            all.extend((0..2).map(|_| socket::further_tcp(to, Some(false)).unwrap()));
            for fd in &all {
                socket::listen(fd.as_fd(), 100).unwrap();
                socket::set_nonblocking(fd.as_fd(), true).unwrap();
            }
            Self { sockets: all.into_iter().map(TcpListener::from).collect(), to }
        }

        /// How many connections wait in each socket.
        fn taken(&self) -> Vec<usize> {
            let all = |socket: &TcpListener| std::iter::from_fn(|| socket.accept().ok()).count();
            self.sockets.iter().map(all).collect()
        }

        /// Probes socket `index` between connections of other clients.
        fn check(&self, index: u32, steer: impl Fn(&[ProbeRule])) {
            let (client, source) = socket::client_for(self.to).unwrap();
            let (other, other_source) = socket::client_for(self.to).unwrap();
            steer(&[ProbeRule { source: other_source, index: 0 }, ProbeRule { source, index }]);
            let clients: Vec<TcpStream> =
                (0..20).map(|_| TcpStream::connect(socket::reachable(self.to)).unwrap()).collect();
            let before = self.taken();
            assert_eq!((before[1], before.iter().sum::<usize>()), (20, clients.len()));
            socket::connect(client.as_fd(), self.to).unwrap();
            let mut expected = vec![0; 3];
            expected[usize::try_from(index).unwrap()] = 1;
            assert_eq!(self.taken(), expected, "{:?} to {index}", self.to);
            drop(other);
        }
    }

    const ADDRESSES: [&str; 4] = ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"];

    #[test]
    fn a_probe_reaches_its_socket_and_others_are_steered_as_before() {
        for address in ADDRESSES {
            let group = Group::new(address);
            for index in [0, 2, 1] {
                group.check(index, |rules| {
                    let program = compile_with(Steering::Even(&[1]), rules);
                    reuseport::attach(group.sockets[0].as_fd(), &program).unwrap();
                });
            }
        }
    }

    #[test]
    fn a_probe_reaches_its_socket_under_round_robin() {
        let Ok(steering) = RoundRobin::new() else {
            eprintln!("SKIPPED: loading eBPF needs CAP_BPF");
            return;
        };
        for address in ADDRESSES {
            let group = Group::new(address);
            for index in [0, 2, 1] {
                group.check(index, |rules| {
                    steering.attach(group.sockets[0].as_fd(), &[1], rules).unwrap();
                });
            }
            assert_eq!(steering.given(2), Some(0), "a probe is no client's connection");
        }
    }
}
