//! What is left of a process group whose main process has ended.
//!
//! The main process stays a zombie, and so its pid and its group's number stay its own, until the
//! whole group is gone; only then is the worker reaped. The rest of a worker that was told to stop
//! may finish: its main process may have ended first, with requests in the hands of its children.
//! The rest of a worker that died by itself is killed at once, for it would compete with the
//! replacement.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::ids::WorkerId;
use crate::base::time::Time;

/// How often the rest of a group is looked for. No event tells of the end of a process that is not
/// our child, and the replacement of a worker waits for it.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Workers whose main process has ended while others of their group may live.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    waiting: BTreeSet<WorkerId>,
}

/// Something was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The main process ended. `told_to_stop`: the group had got a signal to stop before.
    Ended { worker: WorkerId, told_to_stop: bool },
    /// A predecessor saw the end, and did what follows from it.
    Resumed { worker: WorkerId },
    /// The group was looked for. `empty`: nothing of it lives.
    Seen { worker: WorkerId, empty: bool },
    /// Nobody knows the worker any more.
    Forgotten { worker: WorkerId },
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// SIGKILL to what is left of the group.
    Kill(WorkerId),
    /// The whole group is gone: reap the main process, and tell the core.
    Reap(WorkerId),
}

impl Leftovers {
    /// Takes one event in; gives what is to be done.
    pub(crate) fn step(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::Ended { worker, told_to_stop } => {
                self.waiting.insert(worker);
                (!told_to_stop).then_some(Action::Kill(worker))
            }
            Event::Resumed { worker } => {
                self.waiting.insert(worker);
                None
            }
            Event::Seen { worker, empty } => {
                (empty && self.waiting.remove(&worker)).then_some(Action::Reap(worker))
            }
            Event::Forgotten { worker } => {
                self.waiting.remove(&worker);
                None
            }
        }
    }

    /// Those whose group is to be looked for.
    pub(crate) fn waiting(&self) -> Vec<WorkerId> {
        self.waiting.iter().copied().collect()
    }

    /// When the groups are to be looked for again.
    pub(crate) fn deadline(&self, now: Time) -> Option<Time> {
        (!self.waiting.is_empty()).then(|| now + LOOK_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: WorkerId = WorkerId(7);

    #[test]
    fn the_rest_of_a_worker_that_died_is_killed_and_then_it_is_reaped() {
        let mut leftovers = Leftovers::default();
        assert_eq!(leftovers.deadline(Time(0)), None);
        let ended = Event::Ended { worker: WORKER, told_to_stop: false };
        assert_eq!(leftovers.step(ended), Some(Action::Kill(WORKER)));
        assert_eq!(leftovers.deadline(Time(0)), Some(Time(0) + LOOK_EVERY));
        assert_eq!(leftovers.step(Event::Seen { worker: WORKER, empty: false }), None);
        assert_eq!(leftovers.waiting(), [WORKER]);
        let gone = Event::Seen { worker: WORKER, empty: true };
        assert_eq!(leftovers.step(gone), Some(Action::Reap(WORKER)));
        assert_eq!(leftovers.step(gone), None, "it is reaped once");
        assert_eq!(leftovers.deadline(Time(0)), None);
    }

    #[test]
    fn the_rest_of_a_worker_that_was_told_to_stop_may_finish() {
        let mut leftovers = Leftovers::default();
        let ended = Event::Ended { worker: WORKER, told_to_stop: true };
        assert_eq!(leftovers.step(ended), None);
        let gone = Event::Seen { worker: WORKER, empty: true };
        assert_eq!(leftovers.step(gone), Some(Action::Reap(WORKER)));
    }

    #[test]
    fn a_successor_kills_nobody_anew() {
        let mut leftovers = Leftovers::default();
        assert_eq!(leftovers.step(Event::Resumed { worker: WORKER }), None);
        assert_eq!(leftovers.waiting(), [WORKER]);
        assert_eq!(leftovers.step(Event::Forgotten { worker: WORKER }), None);
        assert_eq!(leftovers.deadline(Time(0)), None);
    }
}
