//! Sticky's table: 256 buckets assigned to slots by rendezvous hashing. Pure.
//!
//! Each bucket goes to the slot whose keyed hash with the bucket is highest, so a slot that comes
//! takes about 1/n of every other slot's buckets, and a slot that goes gives its own away and
//! moves nothing else. The hash is SipHash-1-3 keyed by the listener's seed, so that clients
//! cannot aim at one worker.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// How many buckets client addresses are hashed into.
pub(crate) const BUCKETS: usize = 256;

/// The slot of each bucket. `slots` must not be empty; its order does not matter.
pub(crate) fn assign(seed: u64, slots: &[u16]) -> [u16; BUCKETS] {
    std::array::from_fn(|bucket| slot_of(seed, bucket, slots))
}

/// The slot of one bucket.
pub(crate) fn slot_of(seed: u64, bucket: usize, slots: &[u16]) -> u16 {
    let best = slots.iter().max_by_key(|slot| (weight(seed, bucket, **slot), **slot));
    best.copied().unwrap_or_default()
}

fn weight(seed: u64, bucket: usize, slot: u16) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(seed, 0);
    hasher.write_u64(bucket as u64);
    hasher.write_u16(slot);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_slot_that_goes_moves_only_its_own(seed: u64, count in 2u16..24, gone in 0u16..24) {
            let gone = gone % count;
            let before: Vec<u16> = (0..count).collect();
            let after: Vec<u16> = before.iter().copied().filter(|slot| *slot != gone).collect();
            let (was, is) = (assign(seed, &before), assign(seed, &after));
            for bucket in 0..BUCKETS {
                prop_assert!(was[bucket] == gone || was[bucket] == is[bucket]);
                prop_assert!(is[bucket] != gone);
            }
        }

        #[test]
        fn order_does_not_matter(seed: u64) {
            prop_assert_eq!(assign(seed, &[0, 1, 2]), assign(seed, &[2, 0, 1]));
        }
    }

    #[test]
    fn shares_are_fair() {
        for seed in 0..50 {
            let table = assign(seed, &[0, 1, 2, 3]);
            for slot in 0..4 {
                let share = table.iter().filter(|s| **s == slot).count();
                assert!((36..=96).contains(&share), "seed {seed}: slot {slot} has {share} of 256");
            }
        }
    }
}
