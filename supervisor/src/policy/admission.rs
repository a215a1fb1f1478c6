//! Whether there is room for a client of the control socket, and how long it may be idle.
//!
//! Connections of one user never take the places of others, and those of people who only look never
//! take the places of root and the app's own user. A client that sends no whole request is sent
//! away.

use std::time::Duration;

use crate::base::time::Time;
use crate::limits::{CLIENTS, CLIENTS_PER_USER};

/// How long a client may take to send its request, and to read its last answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guest {
    pub(crate) uid: u32,
    /// Root, or the app's own user.
    pub(crate) is_own: bool,
}

/// Whether there is room for a further connection. The owner's places and those of all others are
/// counted apart.
pub(crate) fn has_room(connected: impl Iterator<Item = Guest>, newcomer: Guest) -> bool {
    let (mut of_kind, mut of_user) = (0, 0);
    for guest in connected.filter(|guest| guest.is_own == newcomer.is_own) {
        of_kind += 1;
        of_user += usize::from(guest.uid == newcomer.uid);
    }
    of_kind < CLIENTS && (newcomer.is_own || of_user < CLIENTS_PER_USER)
}

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It has not sent its request.
    Asking,
    /// It waits for its answer, or follows the events.
    Waiting,
    /// It has its answer, and has not read all of it.
    Reading,
}

/// When a client in this stage since `since` is sent away.
pub(crate) fn deadline(stage: Stage, since: Time) -> Option<Time> {
    match stage {
        Stage::Asking | Stage::Reading => Some(since + PATIENCE),
        Stage::Waiting => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Guest = Guest { uid: 0, is_own: true };

    fn other(uid: u32) -> Guest {
        Guest { uid, is_own: false }
    }

    #[test]
    fn one_user_does_not_shut_out_another() {
        let crowd = || std::iter::repeat_n(other(7), CLIENTS_PER_USER);
        assert!(!has_room(crowd(), other(7)));
        assert!(has_room(crowd().skip(1), other(7)));
        assert!(has_room(crowd(), other(8)));
    }

    #[test]
    fn nobody_shuts_out_the_owner() {
        let crowd = || (0..1000).map(other);
        assert!(!has_room(crowd(), other(1000)));
        assert!(has_room(crowd(), ROOT));
        let own = || std::iter::repeat_n(ROOT, CLIENTS);
        assert!(!has_room(own(), ROOT));
        assert!(has_room(own(), other(7)));
    }

    #[test]
    fn only_a_client_that_waits_for_us_has_no_deadline() {
        let since = Time(1);
        assert_eq!(deadline(Stage::Asking, since), Some(since + PATIENCE));
        assert_eq!(deadline(Stage::Reading, since), Some(since + PATIENCE));
        assert_eq!(deadline(Stage::Waiting, since), None);
    }
}
