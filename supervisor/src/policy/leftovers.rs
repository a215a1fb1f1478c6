//! What is left of a worker whose main process has ended: others of its process group, and those
//! that left the group.
//!
//! The main process stays a zombie, and so its pid and its group's number stay its own, until the
//! whole rest is gone; only then is the worker reaped. The rest of a worker that was told to stop
//! may finish: its main process may have ended first, with requests in the hands of its children.
//! The rest of a worker that died by itself is killed at once, for it would compete with the
//! replacement. A process that is to be killed may start another one at that moment, so the rest is
//! killed again until nothing lives.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::ids::WorkerId;
use crate::base::time::Time;

/// How often the rest of a group is looked for. No event tells of the end of a process that is not
/// our child, and the replacement of a worker waits for it.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Workers whose main process has ended while others of their group may live.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    /// Whether what lives is to be killed.
    waiting: BTreeMap<WorkerId, bool>,
    /// Workers that were to be killed before their main process was seen to have ended.
    killed: BTreeSet<WorkerId>,
}

/// What an orphan shows of the worker that it may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Whether its environment names that worker; `None`: it names none.
    pub(crate) named: Option<bool>,
    /// It has a socket open that only that worker was lent.
    pub(crate) holds: bool,
}

/// Whether an orphan is that worker's.
pub(crate) fn owns(orphan: Origin) -> bool {
    orphan.named.unwrap_or(orphan.holds)
}

/// Something was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The main process ended. `told_to_stop`: the group had got a signal to stop before.
    Ended { worker: WorkerId, told_to_stop: bool },
    /// A predecessor saw the end, and did what follows from it.
    Resumed { worker: WorkerId },
    /// The worker is to be killed, with all that it started.
    Killed { worker: WorkerId },
    /// A look at the rest. `empty`: nothing of it lives.
    Seen { worker: WorkerId, empty: bool },
    /// Nobody knows the worker any more.
    Forgotten { worker: WorkerId },
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// SIGKILL to what is left.
    Kill(WorkerId),
    /// Nothing lives: reap the main process, and tell the core.
    Reap(WorkerId),
}

impl Leftovers {
    /// Takes one event in; gives what is to be done.
    pub(crate) fn step(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::Ended { worker, told_to_stop } => {
                // What is killed has got a signal to stop, too: its rest may not finish.
                let kills = self.killed.remove(&worker) || !told_to_stop;
                self.waiting.insert(worker, kills);
                kills.then_some(Action::Kill(worker))
            }
            Event::Resumed { worker } => {
                let kills = self.killed.remove(&worker);
                self.waiting.insert(worker, kills);
                None
            }
            Event::Killed { worker } => {
                match self.waiting.get_mut(&worker) {
                    Some(kills) => *kills = true,
                    None => drop(self.killed.insert(worker)),
                }
                None
            }
            Event::Seen { worker, empty: true } => {
                self.waiting.remove(&worker).map(|_| Action::Reap(worker))
            }
            Event::Seen { worker, empty: false } => {
                let kills = self.waiting.get(&worker).is_some_and(|kills| *kills);
                kills.then_some(Action::Kill(worker))
            }
            Event::Forgotten { worker } => {
                self.killed.remove(&worker);
                self.waiting.remove(&worker);
                None
            }
        }
    }

    /// Those whose group is to be looked for.
    pub(crate) fn waiting(&self) -> Vec<WorkerId> {
        self.waiting.keys().copied().collect()
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
        let again = leftovers.step(Event::Seen { worker: WORKER, empty: false });
        assert_eq!(again, Some(Action::Kill(WORKER)), "it may have started another process");
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
        let lives = Event::Seen { worker: WORKER, empty: false };
        assert_eq!(leftovers.step(lives), None);
        assert_eq!(leftovers.step(Event::Killed { worker: WORKER }), None);
        assert_eq!(leftovers.step(lives), Some(Action::Kill(WORKER)), "its time is over");
        let gone = Event::Seen { worker: WORKER, empty: true };
        assert_eq!(leftovers.step(gone), Some(Action::Reap(WORKER)));
    }

    #[test]
    fn the_rest_of_a_worker_that_was_killed_before_its_end_was_seen_is_killed() {
        let mut leftovers = Leftovers::default();
        assert_eq!(leftovers.step(Event::Killed { worker: WORKER }), None);
        assert_eq!(leftovers.deadline(Time(0)), None, "its main process has not ended");
        // The signal that killed it counts as one to stop.
        let ended = Event::Ended { worker: WORKER, told_to_stop: true };
        assert_eq!(leftovers.step(ended), Some(Action::Kill(WORKER)));
        let lives = Event::Seen { worker: WORKER, empty: false };
        assert_eq!(leftovers.step(lives), Some(Action::Kill(WORKER)));
    }

    #[test]
    fn an_orphan_is_of_the_worker_that_it_names_or_whose_socket_it_has() {
        assert!(owns(Origin { named: Some(true), holds: false }));
        assert!(owns(Origin { named: None, holds: true }));
        assert!(!owns(Origin { named: None, holds: false }));
        assert!(!owns(Origin { named: Some(false), holds: true }), "another worker's, by descent");
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
