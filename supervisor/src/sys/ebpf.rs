//! Round-robin in the kernel: a small eBPF program, assembled here and loaded with bpf(2).
//!
//! It is a socket-filter program attached with SO_ATTACH_REUSEPORT_EBPF, and runs once per new
//! connection of the group. It takes the next number from a counter, modulo the number of targets,
//! looks the target up, counts it, and returns its index. The counter and the counts belong to the
//! listener and stay over each steering. The targets are a new map each time, so that a change is
//! one atomic exchange of the whole program.
//!
//! This needs CAP_BPF, or root, or a kernel that lets all users load such programs
//! (`kernel.unprivileged_bpf_disabled = 0`). Sources: bpf(2), the kernel's
//! `Documentation/bpf/standardization/instruction-set.rst`, `net/core/sock_reuseport.c`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::ebpf_code::{
    EXIT, Instruction, atomic_add, fetch_and_add, jump_if_zero, jump_if_zero_over, load_word,
    lookup, modulo, move_immediate, move_register, store_word, store_word_from,
};
use super::probe_rules::{self, ProbeRule};

/// How many sockets of one group can be counted; connections to further ones are not counted.
const COUNTED: u32 = 4096;

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;

/// The state of one listener that outlives each steering: the counter and the counts.
#[derive(Debug)]
pub(crate) struct RoundRobin {
    next: OwnedFd,
    counts: OwnedFd,
}

impl RoundRobin {
    /// Makes the maps. Fails with EPERM where the privilege is missing.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { next: array(8, 1)?, counts: array(8, COUNTED)? })
    }

    /// The maps, to pass to `from_fds`.
    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.next.as_fd(), self.counts.as_fd()]
    }

    /// Takes over the maps of an earlier `RoundRobin`.
    pub(crate) fn from_fds([next, counts]: [OwnedFd; 2]) -> Self {
        Self { next, counts }
    }

    /// From now on new connections go to these kernel indices in turn, except those of `rules`,
    /// which are not counted. `group` is any socket of the group.
    pub(crate) fn attach(
        &self,
        group: BorrowedFd<'_>,
        indices: &[u32],
        rules: &[ProbeRule],
    ) -> io::Result<()> {
        let count = u32::try_from(indices.len()).unwrap_or(u32::MAX);
        let targets = array(4, count.max(1))?;
        for (at, index) in (0u32..).zip(indices) {
            update(&targets, at, &index.to_ne_bytes())?;
        }
        let mut code = probe_rules::extended(rules);
        code.extend(self.program(&targets, count.max(1)));
        let program = load(&code)?;
        let raw: RawFd = program.as_raw_fd();
        // SAFETY: the option's value is one int that lives across the call, its size is given, and
        // both fds are open; the kernel takes its own reference to the program.
        let result = unsafe {
            libc::setsockopt(
                group.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_REUSEPORT_EBPF,
                std::ptr::from_ref(&raw).cast(),
                size_of::<RawFd>() as libc::socklen_t,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// How many connections the socket with this kernel index got since the listener was opened.
    pub(crate) fn given(&self, index: u32) -> Option<u64> {
        let mut value = [0u8; 8];
        let mut attr = Attr::default();
        attr.put32(0, fd_number(&self.counts));
        attr.put_pointer(8, std::ptr::from_ref(&index).cast());
        attr.put_pointer(16, value.as_mut_ptr().cast_const().cast());
        // The kernel reads four bytes of key and writes eight of value: the sizes that both
        // pointers have.
        bpf(BPF_MAP_LOOKUP_ELEM, &attr).ok()?;
        Some(u64::from_ne_bytes(value))
    }

    fn program(&self, targets: &OwnedFd, count: u32) -> Vec<Instruction> {
        let mut code = Vec::new();
        // r0 = &next[0], or out
        code.push(store_word(-4, 0));
        code.extend(lookup(&self.next));
        let miss_first = code.len();
        code.push(jump_if_zero(0));
        // r6 = fetch_and_add(next, 1) % count
        code.push(move_immediate(6, 1));
        code.push(fetch_and_add(0, 6));
        code.push(modulo(6, count.cast_signed()));
        code.push(store_word_from(-4, 6));
        // r7 = targets[r6], or out
        code.extend(lookup(targets));
        let miss_second = code.len();
        code.push(jump_if_zero(0));
        code.push(load_word(7, 0));
        // counts[r7] += 1, where there is such a count
        code.push(store_word_from(-4, 7));
        code.extend(lookup(&self.counts));
        code.push(jump_if_zero_over(2));
        code.push(move_immediate(1, 1));
        code.push(atomic_add(0, 1));
        code.push(move_register(0, 7));
        code.push(EXIT);
        // out: an index that no socket of the group has makes the kernel use its own hash
        let out = code.len();
        code.push(move_immediate(0, -1));
        code.push(EXIT);
        for miss in [miss_first, miss_second] {
            code[miss].offset = i16::try_from(out - miss - 1).unwrap_or(i16::MAX);
        }
        code
    }
}

/// The argument of bpf(2): a union that must be zero wherever it is not set, padding included.
#[derive(Debug)]
#[repr(C, align(8))]
struct Attr([u8; 128]);

impl Default for Attr {
    fn default() -> Self {
        Self([0; 128])
    }
}

impl Attr {
    fn put32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }

    fn put_pointer(&mut self, at: usize, pointer: *const u8) {
        self.0[at..at + 8].copy_from_slice(&(pointer as u64).to_ne_bytes());
    }
}

/// Calls bpf(2). Every pointer in `attr` must be valid for the way the command uses it.
fn bpf(command: libc::c_long, attr: &Attr) -> io::Result<libc::c_int> {
    // SAFETY: `attr` is 128 zeroed or set bytes, as the given size says. Each caller in this file
    // points it only at buffers of the sizes that the command reads or writes, alive across the
    // call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr.0.as_ptr(), attr.0.len()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    libc::c_int::try_from(result).map_err(|_| io::Error::other("bpf(2) gave no descriptor"))
}

fn own(fd: libc::c_int) -> OwnedFd {
    // SAFETY: bpf(2) has just returned this new descriptor (close-on-exec), and nothing else owns
    // it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn fd_number(fd: &OwnedFd) -> u32 {
    fd.as_fd().as_raw_fd().cast_unsigned()
}

fn array(value_size: u32, entries: u32) -> io::Result<OwnedFd> {
    let mut attr = Attr::default();
    attr.put32(0, BPF_MAP_TYPE_ARRAY);
    attr.put32(4, 4);
    attr.put32(8, value_size);
    attr.put32(12, entries);
    bpf(BPF_MAP_CREATE, &attr).map(own)
}

fn update(map: &OwnedFd, key: u32, value: &[u8]) -> io::Result<()> {
    let mut attr = Attr::default();
    attr.put32(0, fd_number(map));
    attr.put_pointer(8, std::ptr::from_ref(&key).cast());
    attr.put_pointer(16, value.as_ptr());
    bpf(BPF_MAP_UPDATE_ELEM, &attr).map(drop)
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let license = c"MIT";
    let mut attr = Attr::default();
    attr.put32(0, BPF_PROG_TYPE_SOCKET_FILTER);
    attr.put32(4, u32::try_from(program.len()).unwrap_or(u32::MAX));
    attr.put_pointer(8, program.as_ptr().cast());
    attr.put_pointer(16, license.as_ptr().cast());
    bpf(BPF_PROG_LOAD, &attr).map(own)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn group(count: usize) -> (Vec<TcpListener>, SocketAddr) {
        let mut address: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut all = Vec::new();
        for _ in 0..count {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_reuse_port(true).unwrap();
            socket.bind(&address.into()).unwrap();
            socket.listen(4096).unwrap();
            socket.set_nonblocking(true).unwrap();
            address = socket.local_addr().unwrap().as_socket().unwrap();
            all.push(TcpListener::from(socket));
        }
        (all, address)
    }

    fn accepted(listener: &TcpListener) -> u64 {
        std::iter::from_fn(|| listener.accept().ok()).count() as u64
    }

    #[test]
    fn every_target_in_turn_across_a_change() {
        let Ok(steering) = RoundRobin::new() else {
            eprintln!("SKIPPED: loading eBPF needs CAP_BPF");
            return;
        };
        let (listeners, address) = group(4);
        let connect = |count| (0..count).map(|_| TcpStream::connect(address).unwrap()).collect();
        steering.attach(listeners[0].as_fd(), &[0, 1, 2], &[]).unwrap();
        let first: Vec<TcpStream> = connect(300);
        let counts: Vec<u64> = listeners.iter().map(accepted).collect();
        assert_eq!(counts, [100, 100, 100, 0]);
        steering.attach(listeners[0].as_fd(), &[3, 1, 2], &[]).unwrap();
        let second: Vec<TcpStream> = connect(301);
        let counts: Vec<u64> = listeners.iter().map(accepted).collect();
        assert_eq!(counts, [0, 100, 100, 101]);
        assert_eq!(steering.given(1), Some(200));
        assert_eq!(steering.given(3), Some(101));
        assert_eq!(first.len() + second.len(), 601);
    }
}
