//! Which worker gets the next connection in the primary engine. Pure.

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

use config::spec::Balance;
use siphasher::sip::SipHasher13;

use super::rendezvous::{BUCKETS, slot_of};

/// One worker that could take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) slot: u16,
    /// Connections it holds or is about to get.
    pub(crate) held: u32,
    /// It gets no connection now: too many are in flight to it, or it has stopped taking them.
    pub(crate) full: bool,
}

/// Picks one of the candidates, which are in the order of their slots, and returns its index.
/// `turn` is round-robin's memory. `None`: no worker can take the connection now.
pub(crate) fn pick(
    balance: Balance,
    candidates: &[Candidate],
    turn: &mut u64,
    seed: u64,
    peer: SocketAddr,
) -> Option<usize> {
    if candidates.is_empty() {
        return None;
    }
    match balance {
        Balance::Sticky => {
            let slots: Vec<u16> = candidates.iter().map(|candidate| candidate.slot).collect();
            let slot = slot_of(seed, bucket(seed, peer.ip()), &slots);
            let at = candidates.iter().position(|candidate| candidate.slot == slot)?;
            // The client belongs to this slot and waits for it.
            (!candidates[at].full).then_some(at)
        }
        Balance::LeastConnections => {
            let start = start(turn, candidates.len());
            in_turn(start, candidates)
                .min_by_key(|at| candidates[*at].held)
                .inspect(|at| *turn = *at as u64 + 1)
        }
        Balance::RoundRobin | Balance::Hash | Balance::Shared => {
            let start = start(turn, candidates.len());
            in_turn(start, candidates).next().inspect(|at| *turn = *at as u64 + 1)
        }
    }
}

fn start(turn: &u64, count: usize) -> usize {
    usize::try_from(*turn).unwrap_or_default() % count
}

/// Those with room, beginning with the one whose turn it is.
fn in_turn(start: usize, candidates: &[Candidate]) -> impl Iterator<Item = usize> {
    let count = candidates.len();
    (0..count).map(move |step| (start + step) % count).filter(|at| !candidates[*at].full)
}

/// The bucket of a client: IPv4 by the whole address, IPv6 by its first 64 bits.
fn bucket(seed: u64, address: IpAddr) -> usize {
    let mut hasher = SipHasher13::new_with_keys(seed, 1);
    match address.to_canonical() {
        IpAddr::V4(address) => hasher.write(&address.octets()),
        IpAddr::V6(address) => hasher.write(&address.octets()[..8]),
    }
    usize::try_from(hasher.finish() % BUCKETS as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(held: &[u32]) -> Vec<Candidate> {
        let one = |(slot, held): (u16, &u32)| Candidate { slot, held: *held, full: false };
        (0u16..).zip(held).map(one).collect()
    }

    fn peer(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 4000))
    }

    #[test]
    fn round_robin_takes_turns_and_passes_over_the_full() {
        let mut all = candidates(&[0, 0, 0]);
        let mut turn = 0;
        let mut next = |all: &[Candidate]| {
            pick(Balance::RoundRobin, all, &mut turn, 1, peer(1)).map(|at| all[at].slot)
        };
        assert_eq!(
            [next(&all), next(&all), next(&all), next(&all)].map(Option::unwrap),
            [0, 1, 2, 0]
        );
        all[1].full = true;
        assert_eq!(next(&all), Some(2));
        assert_eq!(next(&all[..0]), None);
        all.iter_mut().for_each(|candidate| candidate.full = true);
        assert_eq!(next(&all), None);
    }

    #[test]
    fn least_connections_takes_the_emptiest_and_among_equals_the_next() {
        let mut turn = 0;
        let mut next = |held: &[u32]| {
            pick(Balance::LeastConnections, &candidates(held), &mut turn, 1, peer(1))
        };
        assert_eq!(next(&[2, 1, 3]), Some(1));
        assert_eq!(next(&[1, 1, 1]), Some(2));
        assert_eq!(next(&[1, 1, 1]), Some(0));
    }

    #[test]
    fn sticky_stays_and_ports_do_not_matter() {
        let all = candidates(&[0; 5]);
        let mut turn = 0;
        let mut slot = |peer| pick(Balance::Sticky, &all, &mut turn, 7, peer);
        let mut used = std::collections::BTreeSet::new();
        for last in 1..=100 {
            let first = slot(peer(last));
            assert_eq!(slot(SocketAddr::from(([127, 0, 0, last], 5000))), first);
            let mapped = format!("[::ffff:127.0.0.{last}]:9").parse().unwrap();
            assert_eq!(slot(mapped), first);
            used.insert(first);
        }
        assert_eq!(used.len(), 5);
    }
}
