//! Which worker is handed another connection, and when accepting is tried again (primary engine).
//!
//! A worker that leaves connections waiting is passed over until it takes one. A worker that
//! refused a connection rests for a moment. A worker that takes nothing for seconds is reported,
//! and what was not sent to it yet goes to others. Where nobody can take a connection, accepting
//! pauses; it is tried again when a rest ends, or after a moment where the machine was short of
//! descriptors.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use config::spec::Balance;

use crate::base::ids::{HandOffId, WorkerId};
use crate::base::time::Time;
use crate::limits::{HAND_OFFS_PER_WORKER, WAITING_FOR_THEIR_SLOT};

/// A worker with this many connections on their way gets no more once the oldest has waited
/// this long. Few may wait a little longer, so that round-robin is exact on a busy machine too.
const PASSED_OVER: [(usize, Duration); 2] =
    [(1, Duration::from_secs(1)), (8, Duration::from_millis(100))];
/// A worker that has not taken a connection for this long is reported.
pub(crate) const SLOW_TO_TAKE: Duration = Duration::from_secs(5);
/// How long a worker that refused a connection is offered no other: it may have as many as it
/// wants (`server.maxConnections`), and would only be asked again and again.
const RESTS: Duration = Duration::from_millis(20);
/// How long accepting pauses when no descriptor is left for it.
const OUT_OF_FDS: Duration = Duration::from_millis(100);
/// When a connection that nobody took is offered again.
const AGAIN: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// Connections on their way, in the order of giving.
    given: BTreeMap<HandOffId, Given>,
    /// Until when workers that refused a connection are offered none.
    rests: BTreeMap<WorkerId, Time>,
    /// When slow workers are looked for.
    slow_due: Option<Time>,
    /// When accepting is tried again after it failed.
    accept_again: Option<Time>,
}

/// A connection on its way.
#[derive(Debug, Clone, Copy)]
struct Given {
    worker: WorkerId,
    /// When it was given to the worker.
    at: Time,
    /// Since then, or since the worker was last reported as slow.
    since: Time,
}

impl Throttle {
    /// A connection is on its way to a worker.
    pub(crate) fn gave(&mut self, now: Time, id: HandOffId, worker: WorkerId) {
        self.given.insert(id, Given { worker, at: now, since: now });
        self.slow_due.get_or_insert(now + SLOW_TO_TAKE);
    }

    /// It was taken, refused or taken back.
    pub(crate) fn settled(&mut self, id: HandOffId) {
        self.given.remove(&id);
    }

    /// A worker refused a connection.
    pub(crate) fn refused(&mut self, now: Time, worker: WorkerId) {
        self.rests.insert(worker, now + RESTS);
    }

    /// Nothing can be handed to a worker any more.
    pub(crate) fn forget(&mut self, worker: WorkerId) {
        self.rests.remove(&worker);
    }

    /// Whether a worker gets nothing now. `pending`: connections on their way to it.
    pub(crate) fn is_full(&self, now: Time, worker: WorkerId, pending: usize) -> bool {
        pending >= HAND_OFFS_PER_WORKER
            || self.is_passed_over(now, worker, pending)
            || self.rests.get(&worker).is_some_and(|until| now < *until)
    }

    fn is_passed_over(&self, now: Time, worker: WorkerId, pending: usize) -> bool {
        let oldest = self.oldest(worker).map(|given| now.since(given));
        let past = |(count, span): &(usize, Duration)| {
            pending >= *count && oldest.is_some_and(|oldest| oldest >= *span)
        };
        PASSED_OVER.iter().any(past)
    }

    /// When the oldest of the connections that a worker has not taken was given to it.
    pub(crate) fn oldest(&self, worker: WorkerId) -> Option<Time> {
        self.given.values().find(|given| given.worker == worker).map(|given| given.at)
    }

    /// Nobody can take a connection now: it is offered again when the first rest ends.
    pub(crate) fn nobody_takes(&mut self, now: Time) {
        self.rests.retain(|_, until| *until > now);
        self.accept_again = self.rests.values().copied().chain(self.accept_again).min();
    }

    /// Nothing can be accepted for want of descriptors.
    pub(crate) fn out_of_descriptors(&mut self, now: Time) {
        self.accept_again = Some(now + OUT_OF_FDS);
    }

    /// Something was refused that another worker, or the same one a moment later, may take.
    pub(crate) fn again_soon(&mut self, now: Time) {
        let soon = now + AGAIN;
        self.accept_again = Some(self.accept_again.map_or(soon, |at| at.min(soon)));
    }

    /// Whether accepting is to be tried again now.
    pub(crate) fn is_again(&mut self, now: Time) -> bool {
        self.accept_again.take_if(|at| *at <= now).is_some()
    }

    /// Workers that are to be reported as slow, and whose unsent connections go to others.
    pub(crate) fn slow(&mut self, now: Time) -> BTreeSet<WorkerId> {
        let mut slow = BTreeSet::new();
        if self.slow_due.is_none_or(|due| now < due) {
            return slow;
        }
        for given in self.given.values_mut() {
            if now.since(given.since) >= SLOW_TO_TAKE {
                given.since = now;
                slow.insert(given.worker);
            }
        }
        let oldest = self.given.values().map(|given| given.since).min();
        self.slow_due = oldest.map(|since| since + SLOW_TO_TAKE);
        slow
    }

    /// When [`Throttle::is_again`] or [`Throttle::slow`] has something to say.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.slow_due.into_iter().chain(self.accept_again).min()
    }
}

/// Whether more may be accepted although this many connections wait already: with `sticky` they
/// wait for their own slot, and do not keep the clients of another waiting.
pub(crate) fn has_room(balance: Balance, waiting: usize) -> bool {
    waiting == 0 || (balance == Balance::Sticky && waiting < WAITING_FOR_THEIR_SLOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: WorkerId = WorkerId(1);
    const TWO: WorkerId = WorkerId(2);
    const BEGIN: Time = Time(0);

    fn after(ms: u64) -> Time {
        BEGIN + Duration::from_millis(ms)
    }

    #[test]
    fn a_worker_that_leaves_connections_waiting_is_passed_over_until_it_takes_one() {
        let mut throttle = Throttle::default();
        throttle.gave(BEGIN, HandOffId(1), ONE);
        assert!(!throttle.is_full(after(999), ONE, 1));
        assert!(throttle.is_full(after(1000), ONE, 1));
        assert!(!throttle.is_full(after(1000), TWO, 0), "that is another's");
        // Many on their way may wait for less.
        assert!(!throttle.is_full(after(99), ONE, 8));
        assert!(throttle.is_full(after(100), ONE, 8));
        throttle.settled(HandOffId(1));
        assert!(!throttle.is_full(after(1000), ONE, 0));
        assert!(throttle.is_full(BEGIN, ONE, HAND_OFFS_PER_WORKER), "as many as it may have");
    }

    #[test]
    fn the_oldest_decides() {
        let mut throttle = Throttle::default();
        for (at, id, worker) in [(5, 1, TWO), (10, 2, ONE), (20, 3, ONE)] {
            throttle.gave(after(at), HandOffId(id), worker);
        }
        assert_eq!(throttle.oldest(ONE), Some(after(10)));
        throttle.settled(HandOffId(2));
        assert_eq!(throttle.oldest(ONE), Some(after(20)));
        throttle.settled(HandOffId(3));
        assert_eq!(throttle.oldest(ONE), None);
    }

    #[test]
    fn a_worker_that_refused_rests_and_accepting_is_tried_again_after_it() {
        let mut throttle = Throttle::default();
        throttle.refused(BEGIN, ONE);
        throttle.refused(after(5), TWO);
        assert!(throttle.is_full(after(19), ONE, 0) && !throttle.is_full(after(20), ONE, 0));
        throttle.nobody_takes(after(10));
        assert_eq!(throttle.deadline(), Some(after(20)));
        assert!(!throttle.is_again(after(19)));
        assert!(throttle.is_again(after(20)) && !throttle.is_again(after(20)), "once");
        // The first rest is over; the other one is not.
        throttle.nobody_takes(after(20));
        assert_eq!(throttle.deadline(), Some(after(25)));
        throttle.forget(TWO);
        assert!(!throttle.is_full(after(20), TWO, 0));
    }

    #[test]
    fn nobody_is_offered_anything_again_where_nobody_rests() {
        let mut throttle = Throttle::default();
        throttle.nobody_takes(BEGIN);
        assert_eq!(throttle.deadline(), None, "a worker that takes one says so itself");
    }

    #[test]
    fn accepting_is_tried_again_at_the_first_of_its_times() {
        let mut throttle = Throttle::default();
        throttle.out_of_descriptors(BEGIN);
        assert_eq!(throttle.deadline(), Some(after(100)));
        throttle.again_soon(BEGIN);
        throttle.again_soon(after(50));
        assert_eq!(throttle.deadline(), Some(after(20)));
        throttle.out_of_descriptors(after(10));
        assert_eq!(throttle.deadline(), Some(after(110)), "nothing can be accepted before");
    }

    #[test]
    fn a_slow_worker_is_reported_every_five_seconds() {
        let mut throttle = Throttle::default();
        throttle.gave(BEGIN, HandOffId(1), ONE);
        throttle.gave(after(2000), HandOffId(2), TWO);
        assert_eq!(throttle.deadline(), Some(after(5000)));
        assert!(throttle.slow(after(4999)).is_empty());
        assert_eq!(throttle.slow(after(5000)), BTreeSet::from([ONE]));
        assert_eq!(throttle.deadline(), Some(after(7000)), "then it is the other's turn");
        assert_eq!(throttle.slow(after(7000)), BTreeSet::from([TWO]));
        throttle.settled(HandOffId(2));
        assert_eq!(throttle.slow(after(10_000)), BTreeSet::from([ONE]), "and again");
        throttle.settled(HandOffId(1));
        assert!(throttle.slow(after(15_000)).is_empty());
        assert_eq!(throttle.deadline(), None);
    }

    #[test]
    fn clients_of_one_slot_do_not_keep_those_of_another_waiting() {
        for balance in [Balance::RoundRobin, Balance::LeastConnections] {
            assert!(has_room(balance, 0) && !has_room(balance, 1));
        }
        assert!(has_room(Balance::Sticky, WAITING_FOR_THEIR_SLOT - 1));
        assert!(!has_room(Balance::Sticky, WAITING_FOR_THEIR_SLOT));
    }
}
