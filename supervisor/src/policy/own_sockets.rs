//! The TCP sockets on which workers listen and which are not the supervisor's: when the runtime
//! looks for them, and what each is.
//!
//! No event tells of a `listen` that passes no system call filter (io_uring). So the runtime looks
//! at what the kernel lists: often while a worker is young, ever more seldom later, and before each
//! reload.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::ids::WorkerId;
use crate::base::own_sockets::OwnSockets;
use crate::base::time::Time;

/// The age of a worker at the first look. The time between two looks doubles from then on.
const FIRST: Duration = Duration::from_millis(400);

/// The most addresses that are kept of a worker.
const MOST: usize = 32;

/// When the next look at each worker is due, and what the last one showed.
#[derive(Debug, Default)]
pub(crate) struct OwnSocketsWatch {
    workers: BTreeMap<WorkerId, Watched>,
}

#[derive(Debug)]
struct Watched {
    due: Time,
    since_last: Duration,
    /// `None`: a predecessor may have told the core of others.
    seen: Option<OwnSockets>,
}

impl OwnSocketsWatch {
    /// The program of a worker runs from now on.
    pub(crate) fn begin(&mut self, worker: WorkerId, now: Time) {
        self.watch(worker, now, Some(OwnSockets::default()));
    }

    /// A new primary finds it running.
    pub(crate) fn resume(&mut self, worker: WorkerId, now: Time) {
        self.watch(worker, now, None);
    }

    fn watch(&mut self, worker: WorkerId, now: Time, seen: Option<OwnSockets>) {
        let watched = Watched { due: now + FIRST, since_last: FIRST, seen };
        self.workers.insert(worker, watched);
    }

    /// When the next look is due.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.workers.values().map(|watched| watched.due).min()
    }

    /// The workers to look at now.
    pub(crate) fn due(&mut self, now: Time) -> Vec<WorkerId> {
        let due = self.workers.iter_mut().filter(|(_, watched)| watched.due <= now);
        due.map(|(worker, watched)| {
            watched.due = now + watched.since_last;
            watched.since_last *= 2;
            *worker
        })
        .collect()
    }

    /// All workers that are watched.
    pub(crate) fn all(&self) -> Vec<WorkerId> {
        self.workers.keys().copied().collect()
    }

    /// A worker is gone.
    pub(crate) fn forget(&mut self, worker: WorkerId) {
        self.workers.remove(&worker);
    }

    /// What a look showed of a worker. `Some`: that is news.
    pub(crate) fn looked(&mut self, worker: WorkerId, seen: OwnSockets) -> Option<OwnSockets> {
        let watched = self.workers.get_mut(&worker)?;
        if watched.seen.as_ref() == Some(&seen) {
            return None;
        }
        watched.seen = Some(seen.clone());
        Some(seen)
    }
}

/// What is known of a socket that the kernel lists as listening and a worker has open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// It is a slot socket, or one that was lent and has not been closed.
    pub(crate) is_ours: bool,
    /// Its `listen` was intercepted and left to the kernel: a port that the kernel chose, or an
    /// address that the configuration leaves alone. Also `true` if that was not written down.
    pub(crate) let_through: bool,
    /// The configuration leaves its address alone.
    pub(crate) passthrough: bool,
}

impl OwnSockets {
    /// Takes one listening socket of a worker in.
    pub(crate) fn add(&mut self, address: String, facts: Facts) {
        let Facts { is_ours, let_through, passthrough } = facts;
        let known = let_through || passthrough;
        let list = if known { &mut self.let_through } else { &mut self.unseen };
        if !is_ours && list.len() < MOST {
            list.insert(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: WorkerId = WorkerId(1);

    #[test]
    fn a_young_worker_is_looked_at_often_and_an_old_one_seldom() {
        let mut watch = OwnSocketsWatch::default();
        assert_eq!(watch.deadline(), None);
        watch.begin(WORKER, Time(0));
        let mut ages = Vec::new();
        while let Some(due) = watch.deadline().filter(|due| *due < Time(0) + FIRST * 1000) {
            assert_eq!(watch.due(due), [WORKER]);
            assert_eq!(watch.due(due), []);
            ages.push(due.since(Time(0)).as_millis());
        }
        assert_eq!(ages[..4], [400, 800, 1600, 3200]);
        assert!(ages.len() < 12, "{ages:?}");
        watch.forget(WORKER);
        assert_eq!(watch.deadline(), None);
    }

    #[test]
    fn only_a_change_is_news() {
        let mut watch = OwnSocketsWatch::default();
        watch.begin(WORKER, Time(0));
        assert_eq!(watch.looked(WORKER, OwnSockets::default()), None);
        let mut seen = OwnSockets::default();
        let facts = Facts { is_ours: false, let_through: false, passthrough: false };
        seen.add(":80".to_owned(), facts);
        assert_eq!(watch.looked(WORKER, seen.clone()), Some(seen.clone()));
        assert_eq!(watch.looked(WORKER, seen.clone()), None);
        assert_eq!(watch.looked(WorkerId(2), seen), None, "it is not watched");
        watch.resume(WORKER, Time(0));
        let none = OwnSockets::default();
        assert_eq!(watch.looked(WORKER, none.clone()), Some(none), "it may have had one before");
    }

    #[test]
    fn a_socket_is_ours_or_let_through_or_unseen() {
        let mut seen = OwnSockets::default();
        let unseen = Facts { is_ours: false, let_through: false, passthrough: false };
        seen.add("ours".to_owned(), Facts { is_ours: true, ..unseen });
        assert_eq!(seen, OwnSockets::default());
        seen.add("port 0".to_owned(), Facts { let_through: true, ..unseen });
        seen.add("debugger".to_owned(), Facts { passthrough: true, ..unseen });
        seen.add("io_uring".to_owned(), unseen);
        assert!(seen.let_through.iter().eq(["debugger", "port 0"]));
        assert!(seen.unseen.iter().eq(["io_uring"]));
        (0..99).for_each(|port| seen.add(port.to_string(), unseen));
        assert_eq!(seen.unseen.len(), MOST);
    }
}
