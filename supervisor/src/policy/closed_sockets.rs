//! Which slot sockets their workers have closed while they live, as looks have shown.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::ids::{Place, WorkerId};
use crate::base::time::Time;

/// How often the primary looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// What the last look into the workers showed.
#[derive(Debug, Default)]
pub(crate) struct ClosedSockets {
    closed: BTreeSet<(WorkerId, Place)>,
    due: Option<Time>,
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

    /// Takes what a look showed; gives what is news. `watched`: some worker may close a socket.
    pub(crate) fn looked(
        &mut self,
        now: Time,
        watched: bool,
        closed: BTreeSet<(WorkerId, Place)>,
    ) -> Vec<(WorkerId, Place)> {
        self.due = watched.then(|| now + LOOK_EVERY);
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
        assert_eq!(sockets.looked(Time(0), true, BTreeSet::from([closed])), [closed]);
        assert_eq!(sockets.looked(Time(0), true, BTreeSet::from([closed])), []);
        assert!(sockets.of(WorkerId(1)).eq([closed.1]));
        assert!(sockets.of(WorkerId(2)).next().is_none());
        assert_eq!(sockets.deadline(), Some(Time(0) + LOOK_EVERY));
        assert_eq!(sockets.looked(Time(0), false, BTreeSet::new()), []);
        assert_eq!(sockets.deadline(), None);
        assert_eq!(sockets.looked(Time(0), true, BTreeSet::from([closed])), [closed]);
    }
}
