//! When each worker is probed, and which probes are under way.
//!
//! A worker that starts is probed more often: its start lasts until it passes. A probe that is not
//! answered in its time means that the process that probes hangs; that says nothing of the worker.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::ids::WorkerId;
use crate::base::probe_kind::ProbeKind;
use crate::base::time::Time;

/// The longest time between two probes of a worker that starts.
const STARTING: Duration = Duration::from_millis(250);
/// When a probe is tried again that cannot be made yet.
const SOON: Duration = Duration::from_millis(50);
/// Probes under way at a time. Each is a rule of up to 13 instructions in the steering program, and
/// the kernel takes programs of at most 4096 (BPF_MAXINSNS).
const MOST: usize = 64;
/// How long an answer may be overdue.
const GRACE: Duration = Duration::from_secs(2);

/// One probe of one worker.
pub(crate) type Key = (WorkerId, ProbeKind);

/// The probes of all workers.
#[derive(Debug, Default)]
pub(crate) struct ProbeSchedule {
    probes: BTreeMap<Key, State>,
    next: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Due(Time),
    Asked { id: u64, until: Time },
}

impl ProbeSchedule {
    /// Makes this probe from now on, if it is not made yet: first after `delay`.
    pub(crate) fn watch(&mut self, now: Time, key: Key, delay: Duration) {
        self.probes.entry(key).or_insert(State::Due(now + delay));
    }

    /// Forgets all other probes.
    pub(crate) fn retain(&mut self, is_wanted: impl Fn(Key) -> bool) {
        self.probes.retain(|key, _| is_wanted(*key));
    }

    /// The probes that are to be made now, those that have waited longest first.
    pub(crate) fn due(&self, now: Time) -> Vec<Key> {
        let mut due: Vec<(Time, Key)> = self
            .probes
            .iter()
            .filter_map(|(key, state)| match state {
                State::Due(at) if *at <= now => Some((*at, *key)),
                State::Due(_) | State::Asked { .. } => None,
            })
            .collect();
        due.sort_unstable();
        due.truncate(MOST.saturating_sub(self.under_way()));
        due.into_iter().map(|(_, key)| key).collect()
    }

    fn under_way(&self) -> usize {
        self.probes.values().filter(|state| matches!(state, State::Asked { .. })).count()
    }

    /// When a probe is due, or overdue. `ready`: the process that probes can be asked from then.
    pub(crate) fn deadline(&self, ready: Option<Time>) -> Option<Time> {
        let is_full = self.under_way() >= MOST;
        let at = |state: &State| match state {
            // The next answer makes room.
            State::Due(_) if is_full => None,
            State::Due(at) => Some(ready.map_or(*at, |ready| ready.max(*at))),
            State::Asked { until, .. } => Some(*until),
        };
        self.probes.values().filter_map(at).min()
    }

    /// A probe is made now. Returns its number.
    pub(crate) fn ask(&mut self, now: Time, key: Key, timeout: Duration) -> u64 {
        self.next += 1;
        let until = now + timeout + GRACE;
        self.probes.insert(key, State::Asked { id: self.next, until });
        self.next
    }

    /// The probe cannot be made yet.
    pub(crate) fn postpone(&mut self, now: Time, key: Key) {
        self.probes.insert(key, State::Due(now + SOON));
    }

    /// There is a result without a question.
    pub(crate) fn rest(&mut self, now: Time, key: Key, period: Duration) {
        self.probes.insert(key, State::Due(now + period));
    }

    /// A probe is answered. `None`: no probe waits for this answer any more.
    pub(crate) fn answered(&mut self, id: u64) -> Option<Key> {
        let is_it = |state: &State| matches!(state, State::Asked { id: asked, .. } if *asked == id);
        self.probes.iter().find(|(_, state)| is_it(state)).map(|(key, _)| *key)
    }

    /// The period of a probe. `starting`: its worker is not ready yet.
    pub(crate) fn period(period: Duration, starting: bool) -> Duration {
        if starting { period.min(STARTING) } else { period }
    }

    /// Whether an answer is so late that none will come.
    pub(crate) fn is_overdue(&self, now: Time) -> bool {
        let late = |state: &State| matches!(state, State::Asked { until, .. } if *until <= now);
        self.probes.values().any(late)
    }

    /// The process that probed is gone: what it was asked is due again.
    pub(crate) fn lose(&mut self, now: Time) {
        for state in self.probes.values_mut() {
            if matches!(state, State::Asked { .. }) {
                *state = State::Due(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = (WorkerId(1), ProbeKind::Readiness);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_number_of_probes_under_way_has_a_bound() {
        let now = Time(0);
        let mut schedule = ProbeSchedule::default();
        let key = |worker: u64| (WorkerId(worker), ProbeKind::Liveness);
        for worker in 0..200 {
            // The last ones have waited longest.
            schedule.watch(now, key(worker), SECOND.saturating_sub(Duration::from_millis(worker)));
        }
        let now = now + SECOND;
        let due = schedule.due(now);
        assert_eq!((due.len(), due[0], due[63]), (MOST, key(199), key(136)));
        let ids: Vec<u64> = due.iter().map(|key| schedule.ask(now, *key, SECOND)).collect();
        assert_eq!(schedule.due(now), []);
        assert_eq!(schedule.deadline(None), Some(now + SECOND + GRACE), "no busy loop");
        let answered = schedule.answered(ids[0]).unwrap();
        schedule.rest(now, answered, SECOND);
        assert_eq!((answered, schedule.due(now)), (key(199), vec![key(135)]));
        assert!(schedule.deadline(None) < Some(now), "there is room");
    }

    #[test]
    fn a_probe_is_asked_answered_and_due_again() {
        let (mut schedule, now) = (ProbeSchedule::default(), Time(1));
        schedule.watch(now, KEY, SECOND);
        assert!(schedule.due(now).is_empty());
        let now = now + SECOND;
        assert_eq!((schedule.due(now), schedule.deadline(None)), (vec![KEY], Some(now)));
        assert_eq!(schedule.deadline(Some(now + SECOND)), Some(now + SECOND));
        let id = schedule.ask(now, KEY, SECOND);
        assert!(schedule.due(now + 2 * SECOND).is_empty(), "it is under way");
        assert_eq!(schedule.answered(id + 1), None);
        assert_eq!(schedule.answered(id), Some(KEY));
        schedule.rest(now, KEY, 5 * SECOND);
        assert_eq!(schedule.deadline(None), Some(now + 5 * SECOND));
        assert_eq!(schedule.answered(id), None, "it was answered");
        schedule.watch(now, KEY, Duration::ZERO);
        assert_eq!(schedule.deadline(None), Some(now + 5 * SECOND), "it is watched already");
        schedule.retain(|_| false);
        assert_eq!(schedule.deadline(None), None);
    }

    #[test]
    fn what_a_lost_process_was_asked_is_asked_again() {
        let (mut schedule, now) = (ProbeSchedule::default(), Time(1));
        schedule.watch(now, KEY, Duration::ZERO);
        let id = schedule.ask(now, KEY, SECOND);
        assert!(!schedule.is_overdue(now + 2 * SECOND));
        assert!(schedule.is_overdue(now + SECOND + GRACE));
        schedule.lose(now + SECOND);
        assert_eq!((schedule.due(now + SECOND), schedule.answered(id)), (vec![KEY], None));
    }

    #[test]
    fn a_worker_that_starts_is_probed_more_often() {
        assert_eq!(ProbeSchedule::period(5 * SECOND, true), STARTING);
        assert_eq!(ProbeSchedule::period(5 * SECOND, false), 5 * SECOND);
        assert_eq!(ProbeSchedule::period(SOON, true), SOON);
    }
}
