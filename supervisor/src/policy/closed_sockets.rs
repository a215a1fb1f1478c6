//! Which slot sockets their workers have closed while they live, as looks have shown.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::ids::{Place, WorkerId};
use crate::base::time::Time;

/// How often the primary looks closely.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// The longest time between two looks: the descriptors of a busy process are many.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How closely the workers are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    /// No worker may close a socket unseen.
    Not,
    /// Ever more rarely, until a worker listens again: some have sockets that they opened late.
    Loosely,
    /// Some have several sockets of one address: a share of all connections goes to each of them.
    Closely,
}

/// What the last look into the workers showed.
#[derive(Debug, Default)]
pub(crate) struct ClosedSockets {
    closed: BTreeSet<(WorkerId, Place)>,
    due: Option<Time>,
    /// The time from the next loose look to the one after it.
    pause: Duration,
}

impl ClosedSockets {
    /// When the next look is due.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.due
    }

    /// The sockets of this worker that are closed.
    pub(crate) fn of(&self, worker: WorkerId) -> impl Iterator<Item = Place> {
        self.closed.iter().filter(move |(of, _)| *of == worker).map(|(_, place)| *place)
    }

    /// A worker listens on one more socket.
    pub(crate) fn listens(&mut self, now: Time) {
        let soon = now + LOOK_EVERY;
        self.pause = LOOK_EVERY;
        self.due = self.due.map(|due| due.min(soon));
    }

    /// Takes what a look showed; gives what is news.
    pub(crate) fn looked(
        &mut self,
        now: Time,
        watched: Watched,
        closed: BTreeSet<(WorkerId, Place)>,
    ) -> Vec<(WorkerId, Place)> {
        let pause = self.pause.max(LOOK_EVERY);
        (self.due, self.pause) = match watched {
            Watched::Not => (None, LOOK_EVERY),
            Watched::Closely => (Some(now + LOOK_EVERY), LOOK_EVERY),
            Watched::Loosely => (Some(now + pause), (pause * 2).min(LONGEST_PAUSE)),
        };
        let news = closed.difference(&self.closed).copied().collect();
        self.closed = closed;
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{ListenerId, SocketId};

    #[test]
    fn each_close_is_news_once_and_again_after_the_socket_was_open() {
        let closed = (WorkerId(1), (ListenerId(0), SocketId(3)));
        let mut sockets = ClosedSockets::default();
        assert_eq!(sockets.looked(Time(0), Watched::Closely, BTreeSet::from([closed])), [closed]);
        assert_eq!(sockets.looked(Time(0), Watched::Closely, BTreeSet::from([closed])), []);
        assert!(sockets.of(WorkerId(1)).eq([closed.1]));
        assert!(sockets.of(WorkerId(2)).next().is_none());
        assert_eq!(sockets.deadline(), Some(Time(0) + LOOK_EVERY));
        assert_eq!(sockets.looked(Time(0), Watched::Not, BTreeSet::new()), []);
        assert_eq!(sockets.deadline(), None);
        assert_eq!(sockets.looked(Time(0), Watched::Closely, BTreeSet::from([closed])), [closed]);
    }

    #[test]
    fn loose_looks_become_rare_until_a_worker_listens() {
        let mut sockets = ClosedSockets::default();
        let mut now = Time(0);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            sockets.looked(now, Watched::Loosely, BTreeSet::new());
            let due = sockets.deadline().unwrap();
            pauses.push(due.since(now));
            now = due;
        }
        assert_eq!(pauses[..3], [LOOK_EVERY, LOOK_EVERY * 2, LOOK_EVERY * 4]);
        assert_eq!(pauses[9], LONGEST_PAUSE);
        sockets.listens(now);
        assert_eq!(sockets.deadline(), Some(now), "it was due already");
        sockets.looked(now, Watched::Loosely, BTreeSet::new());
        assert_eq!(sockets.deadline(), Some(now + LOOK_EVERY));
    }
}
