//! Which socket of a SO_REUSEPORT group gets a new connection, as a classic BPF program.
//!
//! Pure: a table in, instructions out. The program's answer is the index of a socket in the
//! kernel's group, in the order of listening. An index out of range makes the kernel use its own
//! hash of addresses and ports; so does no target at all here.
//!
//! What the program sees when it runs: offsets of the packet begin behind the TCP header, so the
//! IP header is reached by `SKF_NET_OFF`, and some facts by `SKF_AD_OFF`.
//!
//! ```text
//! Even:      A = random % n             -> tree of comparisons -> RETURN index
//! BySource:  A = mix(source ^ seed) >> 24 -> tree of comparisons -> RETURN index
//! ```

use super::bpf::{self, Instruction, branch, plain};
use super::probe_rules::{self, ProbeRule};

/// The IP header.
const NETWORK: u32 = libc::SKF_NET_OFF as u32;
/// Facts that are not in the packet.
const FACTS: u32 = libc::SKF_AD_OFF as u32;
const PROTOCOL: u32 = FACTS + libc::SKF_AD_PROTOCOL as u32;
const RANDOM: u32 = FACTS + libc::SKF_AD_RANDOM as u32;
const IPV6: u32 = 0x86dd;
const V4_SOURCE: u32 = NETWORK + 12;
const V6_SOURCE: u32 = NETWORK + 8;
/// The third word of `::ffff:a.b.c.d`.
const MAPPED: u32 = 0xffff;

/// No socket has this index.
const NOBODY: u32 = u32::MAX;

/// Which socket gets a new connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Steering<'a> {
    /// These sockets, each connection independently and with the same chance. An index that occurs
    /// twice has twice the chance.
    Even(&'a [u32]),
    /// The socket that the client's address leads to: IPv4 by the whole address, IPv6 by its first
    /// 64 bits, and an IPv4 address written as IPv6 like IPv4.
    BySource { seed: u32, buckets: &'a [u32; 256] },
}

/// The program for this steering, with rules for the connections of probes.
pub(crate) fn compile_with(steering: Steering<'_>, rules: &[ProbeRule]) -> Vec<Instruction> {
    let mut program = probe_rules::classic(rules);
    program.extend(compile(steering));
    program
}

/// The program for this steering.
pub(crate) fn compile(steering: Steering<'_>) -> Vec<Instruction> {
    let (mut program, table) = match steering {
        Steering::Even([]) => return vec![plain(bpf::RETURN, NOBODY)],
        Steering::Even(sockets) => {
            // More would make the program too long; no app has as many workers.
            let sockets = &sockets[..sockets.len().min(bpf::MAX_INSTRUCTIONS / 4)];
            let count = u32::try_from(sockets.len()).unwrap_or(1);
            (vec![plain(bpf::LOAD, RANDOM), plain(bpf::MODULO, count)], sockets)
        }
        Steering::BySource { seed, buckets } => (bucket_of_source(seed), buckets.as_slice()),
    };
    program.extend(tree(&runs(table)));
    program
}

/// Puts the bucket of the source address, 0..256, into A.
fn bucket_of_source(seed: u32) -> Vec<Instruction> {
    let v4 = plain(bpf::LOAD, V4_SOURCE);
    let v6 = |word: u32| plain(bpf::LOAD, V6_SOURCE + 4 * word);
    let mut long = vec![v6(0), plain(bpf::XOR, seed)];
    long.extend(mix());
    long.extend([plain(bpf::STORE, 0), v6(1), plain(bpf::LOAD_X_SCRATCH, 0), plain(bpf::XOR_X, 0)]);
    long.extend(mix());
    let mut short = vec![plain(bpf::XOR, seed)];
    short.extend(mix());
    // Twice, with the seed between, so that the seed changes more than the numbering of buckets.
    short.extend([plain(bpf::XOR, seed.rotate_left(16))]);
    short.extend(mix());
    let short_length = short.len() as u32;
    let long_length = long.len() as u8;

    let mut program = vec![
        plain(bpf::LOAD, PROTOCOL),
        branch(bpf::IF_EQUAL, IPV6, 2, 0),
        v4,
        // Skips the question whether it is mapped, `long`, its jump and the load of a mapped one.
        plain(bpf::JUMP, 7 + u32::from(long_length) + 2),
        // Mapped?  ::ffff:0:0/96
        v6(0),
        branch(bpf::IF_EQUAL, 0, 0, 5),
        v6(1),
        branch(bpf::IF_EQUAL, 0, 0, 3),
        v6(2),
        branch(bpf::IF_EQUAL, MAPPED, 0, 1),
        // Mapped: its last word is the IPv4 address.
        plain(bpf::JUMP, u32::from(long_length) + 1),
    ];
    program.extend(long);
    program.push(plain(bpf::JUMP, short_length + 1));
    // The mapped address enters here, the plain IPv4 one an instruction later.
    program.push(v6(3));
    program.extend(short);
    program.push(plain(bpf::SHIFT_RIGHT, 24));
    program
}

/// Spreads every bit of A over the whole word (the finalizer of MurmurHash3).
fn mix() -> Vec<Instruction> {
    let fold =
        |bits| [plain(bpf::COPY_TO_X, 0), plain(bpf::SHIFT_RIGHT, bits), plain(bpf::XOR_X, 0)];
    let mut code = Vec::with_capacity(11);
    code.extend(fold(16));
    code.push(plain(bpf::MULTIPLY, 0x85eb_ca6b));
    code.extend(fold(13));
    code.push(plain(bpf::MULTIPLY, 0xc2b2_ae35));
    code.extend(fold(16));
    code
}

/// From position `start` to the next run, the table has this index.
#[derive(Debug, Clone, Copy)]
struct Run {
    start: u32,
    index: u32,
}

/// Merges equal neighbours into runs.
fn runs(table: &[u32]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (start, index) in (0u32..).zip(table.iter().copied()) {
        if runs.last().is_none_or(|run| run.index != index) {
            runs.push(Run { start, index });
        }
    }
    runs
}

/// Binary search of A among the runs.
fn tree(runs: &[Run]) -> Vec<Instruction> {
    let [first, _, ..] = runs else {
        return vec![plain(bpf::RETURN, runs.first().map_or(NOBODY, |run| run.index))];
    };
    debug_assert!(first.start <= runs[1].start);
    let middle = runs.len() / 2;
    let below = tree(&runs[..middle]);
    let border = runs[middle].start;
    let mut code = match u8::try_from(below.len()) {
        Ok(skip) => vec![branch(bpf::IF_AT_LEAST, border, skip, 0)],
        // Conditions jump at most 255 instructions; a plain jump has no limit.
        Err(_) => vec![
            branch(bpf::IF_AT_LEAST, border, 0, 1),
            plain(bpf::JUMP, u32::try_from(below.len()).unwrap_or(0)),
        ],
    };
    code.extend(below);
    code.extend(tree(&runs[middle..]));
    code
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    /// The parts of a packet that a program can read.
    struct Packet {
        source: IpAddr,
        random: u32,
    }

    impl Packet {
        fn load(&self, offset: u32) -> u32 {
            let word =
                |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
            match (offset, self.source) {
                (RANDOM, _) => self.random,
                (PROTOCOL, IpAddr::V4(_)) => 0x0800,
                (PROTOCOL, IpAddr::V6(_)) => IPV6,
                (V4_SOURCE, IpAddr::V4(source)) => u32::from(source),
                (offset, IpAddr::V6(source)) => {
                    let at = offset.wrapping_sub(V6_SOURCE) as usize;
                    assert!(at <= 12, "load outside the source address");
                    word(&source.octets(), at)
                }
                _ => panic!("load of {offset:#x}"),
            }
        }
    }

    /// An interpreter for the instructions of `bpf`. It refuses what the kernel's verifier refuses.
    fn run(program: &[Instruction], packet: &Packet) -> u32 {
        assert!(program.len() <= bpf::MAX_INSTRUCTIONS);
        let (mut a, mut x, mut memory) = (0u32, 0u32, [None; 16]);
        let mut next = 0usize;
        loop {
            let i = program[next];
            next += 1;
            match i.code {
                bpf::LOAD => a = packet.load(i.value),
                bpf::LOAD_X_SCRATCH => x = memory[i.value as usize].unwrap(),
                bpf::STORE => memory[i.value as usize] = Some(a),
                bpf::COPY_TO_X => x = a,
                bpf::MULTIPLY => a = a.wrapping_mul(i.value),
                bpf::SHIFT_RIGHT => a >>= i.value,
                bpf::MODULO => a %= i.value,
                bpf::XOR => a ^= i.value,
                bpf::XOR_X => a ^= x,
                bpf::JUMP => next += i.value as usize,
                bpf::IF_EQUAL | bpf::IF_AT_LEAST => {
                    let holds = if i.code == bpf::IF_EQUAL { a == i.value } else { a >= i.value };
                    next += usize::from(if holds { i.jump_true } else { i.jump_false });
                }
                bpf::RETURN => return i.value,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    fn by(program: &[Instruction], source: &str) -> u32 {
        run(program, &Packet { source: source.parse().unwrap(), random: 0 })
    }

    fn own_number() -> [u32; 256] {
        std::array::from_fn(|bucket| bucket as u32)
    }

    proptest! {
        #[test]
        fn even_is_the_random_number_modulo_the_count(
            sockets in prop::collection::vec(0u32..9, 1..300), random: u32,
        ) {
            let program = compile(Steering::Even(&sockets));
            let packet = Packet { source: "127.0.0.1".parse().unwrap(), random };
            prop_assert_eq!(run(&program, &packet), sockets[random as usize % sockets.len()]);
        }

        #[test]
        fn a_bucket_leads_to_its_socket(
            seed: u32, source: IpAddr, table in prop::collection::vec(0u32..70, 256),
        ) {
            let numbers = own_number();
            let bucket = run(
                &compile(Steering::BySource { seed, buckets: &numbers }),
                &Packet { source, random: 0 },
            );
            let buckets: [u32; 256] = table.try_into().unwrap();
            let program = compile(Steering::BySource { seed, buckets: &buckets });
            let index = run(&program, &Packet { source, random: 1 });
            prop_assert_eq!(index, buckets[bucket as usize]);
        }

        #[test]
        fn a_mapped_address_is_an_ipv4_address(seed: u32, source: std::net::Ipv4Addr) {
            let numbers = own_number();
            let program = compile(Steering::BySource { seed, buckets: &numbers });
            let short = run(&program, &Packet { source: source.into(), random: 0 });
            let mapped = source.to_ipv6_mapped().into();
            prop_assert_eq!(run(&program, &Packet { source: mapped, random: 0 }), short);
        }
    }

    #[test]
    fn the_last_64_bits_do_not_matter_and_the_first_do() {
        let numbers = own_number();
        let program = compile(Steering::BySource { seed: 77, buckets: &numbers });
        let home = by(&program, "2001:db8:1:2::1");
        assert_eq!(by(&program, "2001:db8:1:2:ffff:eeee:dddd:1"), home);
        let nets = (0..64).map(|n| by(&program, &format!("2001:db8:1:{n:x}::1")));
        assert!(nets.collect::<HashSet<_>>().len() > 45);
        let nets = (0..64).map(|n| by(&program, &format!("2001:{n:x}::1")));
        assert!(nets.collect::<HashSet<_>>().len() > 45);
        // Near misses of the mapped range are ordinary IPv6.
        assert_eq!(by(&program, "::fffe:0102:0304"), by(&program, "::1"));
    }

    #[test]
    fn neighbours_spread_evenly_and_the_seed_changes_who_is_with_whom() {
        let buckets: [u32; 256] = std::array::from_fn(|bucket| bucket as u32 % 4);
        let assign = |seed| {
            let program = compile(Steering::BySource { seed, buckets: &buckets });
            let index = |host: u32| by(&program, &format!("10.0.{}.{}", host / 256, host % 256));
            (0..4096).map(index).collect::<Vec<_>>()
        };
        let (first, second) = (assign(1), assign(2));
        for index in 0..4 {
            let share = first.iter().filter(|chosen| **chosen == index).count();
            assert!((900..1150).contains(&share), "socket {index} has {share} of 4096");
        }
        // Of the pairs that one seed puts together, another seed puts a quarter together.
        let together = first.windows(2).filter(|pair| pair[0] == pair[1]).count();
        let both = first.windows(2).zip(second.windows(2));
        let both = both.filter(|(a, b)| a[0] == a[1] && b[0] == b[1]).count();
        assert!(both * 10 > together * 15 / 10 && both * 10 < together * 35 / 10, "{both}");
    }

    #[test]
    fn the_longest_program_is_short_enough_and_one_socket_needs_one_answer() {
        let numbers = own_number();
        assert!(compile(Steering::BySource { seed: 9, buckets: &numbers }).len() < 900);
        assert_eq!(tree(&runs(&[5; 256])), [plain(bpf::RETURN, 5)]);
        assert_eq!(compile(Steering::Even(&[])), [plain(bpf::RETURN, NOBODY)]);
    }
}
